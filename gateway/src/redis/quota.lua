-- Counts what tenants store. Times are in milliseconds of this server's clock, sizes in bytes.
-- Keys, for a tenant with the id ID:
--   menshen:quota:used:ID      string  what apps have taken of it; lives for ever
--   menshen:quota:reserved:ID  sorted  NUMBER:BYTES for each upload under way, by when it is forgotten
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local act = ARGV[1]

local function text(number)
  return string.format('%.0f', number)
end

local function used()
  return tonumber(redis.call('GET', KEYS[1]) or '') or 0
end

local function reserved()
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now))
  local sum = 0
  for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    sum = sum + tonumber(string.match(member, ':(%d+)$'))
  end
  return sum
end

-- reserve: KEYS used, reserved; ARGV NUMBER:BYTES, BYTES, limit or nothing, lifetime.
-- Gives 1, or 0 when there is not so much left; what is used; what is reserved.
if act == 'reserve' then
  local taken, held, limit = used(), reserved(), tonumber(ARGV[4])
  if limit and taken + held + tonumber(ARGV[3]) > limit then
    return {0, taken, held}
  end
  redis.call('ZADD', KEYS[2], text(now + ARGV[5]), ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
  return {1, taken, held}
end

-- renew: KEYS reserved of each upload; ARGV lifetime, NUMBER:BYTES of each upload.
if act == 'renew' then
  for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, 'XX', text(now + ARGV[2]), ARGV[i + 2])
    redis.call('PEXPIRE', key, ARGV[2])
  end
  return 1
end

-- settle: KEYS used, reserved; ARGV NUMBER:BYTES, BYTES, 1 when the space was taken, 1 when this was said before
-- and nobody knows whether it was heard: then it counts only if the reservation is still there.
if act == 'settle' then
  local there = redis.call('ZREM', KEYS[2], ARGV[2]) == 1
  if ARGV[4] == '1' and (there or ARGV[5] ~= '1') then
    redis.call('INCRBY', KEYS[1], ARGV[3])
  end
  return 1
end

-- free: KEYS used; ARGV BYTES.
if act == 'free' then
  redis.call('SET', KEYS[1], text(math.max(used() - ARGV[2], 0)))
  return 1
end

-- usage: KEYS used, reserved. Gives both.
if act == 'usage' then
  return {used(), reserved()}
end

-- set: KEYS used, reserved; ARGV used. Gives both as they were.
if act == 'set' then
  local before = {used(), reserved()}
  redis.call('SET', KEYS[1], ARGV[2])
  return before
end

return redis.error_reply('unknown act')
