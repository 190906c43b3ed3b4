-- Counts failures and locks what failed too often. Times are in milliseconds of this server's clock.
-- Keys, for a subject with the hash HASH:
--   menshen:lockout:HASH           hash    since, until, label; lives as long as the lock
--   menshen:lockout:HASH:failures  sorted  one member for each failure that counts, by its time
--   menshen:lockout:HASH:attempts  sorted  one member for each attempt under way, by when it is forgotten
--   menshen:lockouts               sorted  the HASH of each lock, by when it ends
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local act = ARGV[1]

local function text(number)
  return string.format('%.0f', number)
end

-- reserve: KEYS lock, failures, attempts; ARGV failures, within, reservation, attempt.
-- Gives 1 and 0, or 0 and the time to wait.
if act == 'reserve' then
  local locked = redis.call('PTTL', KEYS[1])
  if locked > 0 then
    return {0, locked}
  end
  local most, within, reservation = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - within))
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', text(now))
  local attempts = redis.call('ZCARD', KEYS[3])
  if redis.call('ZCARD', KEYS[2]) + attempts >= most then
    local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
    if attempts == 0 and first[2] then
      return {0, tonumber(first[2]) + within - now}
    end
    return {0, 1000}
  end
  redis.call('ZADD', KEYS[3], text(now + reservation), ARGV[5])
  redis.call('PEXPIRE', KEYS[3], text(reservation))
  return {1, 0}
end

-- settle: KEYS lock, failures, attempts, locks; ARGV failures, within, lock, attempt, outcome, label, HASH.
-- Gives 1 when this is what locked.
if act == 'settle' then
  redis.call('ZREM', KEYS[3], ARGV[5])
  if ARGV[6] == 'passed' then
    redis.call('DEL', KEYS[2])
  elseif ARGV[6] == 'failed' and redis.call('EXISTS', KEYS[1]) == 0 then
    local most, within, lock = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - within))
    redis.call('ZADD', KEYS[2], text(now), ARGV[5])
    redis.call('PEXPIRE', KEYS[2], text(within))
    if redis.call('ZCARD', KEYS[2]) >= most then
      redis.call('DEL', KEYS[2])
      redis.call('HSET', KEYS[1], 'since', text(now), 'until', text(now + lock), 'label', ARGV[7])
      redis.call('PEXPIRE', KEYS[1], text(lock))
      redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', text(now))
      redis.call('ZADD', KEYS[4], text(now + lock), ARGV[8])
      local last = redis.call('ZREVRANGE', KEYS[4], 0, 0, 'WITHSCORES')
      redis.call('PEXPIREAT', KEYS[4], text(tonumber(last[2])))
      return 1
    end
  end
  return 0
end

-- list: KEYS locks; ARGV how many. Gives HASH, since, until and label of each lock, one after the other.
if act == 'list' then
  local listed = {}
  local hashes = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf', 'LIMIT', 0, ARGV[2])
  for _, hash in ipairs(hashes) do
    local lock = redis.call('HMGET', 'menshen:lockout:' .. hash, 'since', 'until', 'label')
    if lock[1] and lock[2] and lock[3] then
      listed[#listed + 1] = hash
      listed[#listed + 1] = lock[1]
      listed[#listed + 1] = lock[2]
      listed[#listed + 1] = lock[3]
    end
  end
  return listed
end

-- remove: KEYS locks; ARGV the first half of HASH. Gives 1 when there was such a lock.
if act == 'remove' then
  for _, hash in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf')) do
    if string.sub(hash, 1, #ARGV[2]) == ARGV[2] then
      local lock = 'menshen:lockout:' .. hash
      redis.call('ZREM', KEYS[1], hash)
      redis.call('DEL', lock .. ':failures')
      return redis.call('DEL', lock)
    end
  end
  return 0
end

return redis.error_reply('unknown act')
