-- Counts what tenants store. Times are in milliseconds of this server's clock, sizes in bytes.
-- Keys, for a tenant with the id ID:
--   menshen:quota:used:ID      string  what apps have taken of it; lives for ever
--   menshen:quota:reserved:ID  sorted  NUMBER:BYTES for each upload under way, by when it is forgotten; and `sum`, all
--                                      their bytes, by what that is below nothing
--   menshen:quota:told:NUMBER  string  that an upload is counted in what is used; lives as long as it may be told again
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local act = ARGV[1]

local function text(number)
  return string.format('%.0f', number)
end

local function used()
  return tonumber(redis.call('GET', KEYS[1]) or '') or 0
end

local function sum(key)
  return -tonumber(redis.call('ZSCORE', key, 'sum') or 0)
end

-- The sum is kept, because it is asked for with every upload, however many are under way.
local function add(key, bytes)
  if redis.call('ZCARD', key) <= 1 and bytes < 0 then
    redis.call('DEL', key)
  else
    redis.call('ZADD', key, text(-math.max(sum(key) + bytes, 0)), 'sum')
  end
end

local function reserved()
  local most = 1000
  repeat
    local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '(0', text(now), 'LIMIT', 0, most)
    local bytes = 0
    for _, member in ipairs(gone) do
      bytes = bytes + tonumber(string.match(member, ':(%d+)$'))
    end
    if #gone > 0 then
      redis.call('ZREM', KEYS[2], unpack(gone))
      add(KEYS[2], -bytes)
    end
  until #gone < most
  return sum(KEYS[2])
end

-- Reserves so many bytes, or says that they still are.
local function hold(key, member, bytes, lifetime)
  if redis.call('ZADD', key, text(now + lifetime), member) == 1 then
    add(key, bytes)
  end
  redis.call('PEXPIRE', key, lifetime)
end

-- reserve: KEYS used, reserved; ARGV NUMBER:BYTES, BYTES, limit or nothing, lifetime.
-- Gives 1, or 0 when there is not so much left; what is used; what is reserved.
if act == 'reserve' then
  local taken, held, limit = used(), reserved(), tonumber(ARGV[4])
  if limit and taken + held + tonumber(ARGV[3]) > limit then
    return {0, taken, held}
  end
  hold(KEYS[2], ARGV[2], tonumber(ARGV[3]), ARGV[5])
  return {1, taken, held}
end

-- renew: KEYS reserved of each upload; ARGV lifetime, then NUMBER:BYTES and BYTES of each upload. One that is forgotten,
-- because this server's clock was put forward or its data was lost, is there again.
if act == 'renew' then
  for i, key in ipairs(KEYS) do
    hold(key, ARGV[2 * i + 1], tonumber(ARGV[2 * i + 2]), ARGV[2])
  end
  return 1
end

-- settle: KEYS used, reserved, told; ARGV NUMBER:BYTES, BYTES, 1 when the space was taken, for how long this may be told
-- again. The space is counted once, however often it is.
if act == 'settle' then
  if redis.call('ZREM', KEYS[2], ARGV[2]) == 1 then
    add(KEYS[2], -tonumber(ARGV[3]))
  end
  if ARGV[4] == '1' and redis.call('SET', KEYS[3], 1, 'NX', 'PX', ARGV[5]) then
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
