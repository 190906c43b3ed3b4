-- Remembers which request stored a file first.
-- Keys, for a file with the hash HASH of its owner and its content:
--   menshen:file:HASH  string  the request; lives as long as the file is remembered
local act = ARGV[1]

-- find: KEYS files. Gives the request of each, or nil.
if act == 'find' then
  local found = {}
  for i, key in ipairs(KEYS) do
    found[i] = redis.call('GET', key)
  end
  return found
end

-- remember: KEYS files; ARGV request, lifetime in milliseconds.
if act == 'remember' then
  for _, key in ipairs(KEYS) do
    redis.call('SET', key, ARGV[2], 'NX', 'PX', ARGV[3])
  end
  return 1
end

return redis.error_reply('unknown act')
