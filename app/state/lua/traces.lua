-- traces v1: what a pass of the linker has taken goes from the log of a partition to its hash.  Called by state/traces.py
-- KEYS[1] trace log  KEYS[2] traces, both under one hash tag
-- ARGV[1] TTL, sec  ARGV[2] how many ids of log entries follow, ascending; then key ids that leave the hash
-- Returns how many entries there were
-- State   an entry that is in the log no more was taken before, or erased: it changes nothing. So a second run is a no-op
-- Cost    O(arguments); the caller sends 500 at a time
local found, last = 0, 2 + tonumber(ARGV[2])
for i = 3, last do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if entry then
    local key, data
    for at = 1, #entry[2], 2 do
      if entry[2][at] == 'k' then
        key = entry[2][at + 1]
      elseif entry[2][at] == 't' then
        data = entry[2][at + 1]
      end
    end
    if key and key ~= '' then
      redis.call('HSET', KEYS[2], key, data)
    end
    redis.call('XDEL', KEYS[1], ARGV[i])
    found = found + 1
  end
end
if found > 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[1])
end
for i = last + 1, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[i])
end
return found
