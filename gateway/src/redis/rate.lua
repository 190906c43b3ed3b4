-- Takes one unit from every counter, or, when one of them refuses, from none (generic cell rate algorithm).
-- KEYS  menshen:rate:HASH, one for each rule: when the quota is whole again, in microseconds of this server's clock.
--       A key lives no longer than that; a missing one is whole.
-- ARGV  for each rule: microseconds for one unit, units that may be taken at once.
-- Gives for each rule: 1 or 0 for whether it lets pass, and the microseconds it owes.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debts, answer, refused = {}, {}, false

for i, key in ipairs(KEYS) do
  local interval, capacity = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local whole_at = tonumber(redis.call('GET', key) or '') or 0
  debts[i] = math.max(whole_at - now, 0)
  local allowed = debts[i] + interval <= interval * capacity
  refused = refused or not allowed
  answer[2 * i - 1] = allowed and 1 or 0
  answer[2 * i] = debts[i]
end

if not refused then
  for i, key in ipairs(KEYS) do
    local debt = debts[i] + tonumber(ARGV[2 * i - 1])
    redis.call('SET', key, string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000) + 1)
    answer[2 * i] = debt
  end
end

return answer
