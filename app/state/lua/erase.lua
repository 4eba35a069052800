-- erase v1: delete what a partition holds of one key.                          Called by state/erasures.py: names
-- KEYS[1..3] fence, seen, flagged  KEYS[4..] hashes that have a field of the key, then every name that belongs to it; all
--            under one hash tag
-- ARGV[1] our fence  ARGV[2] key id  ARGV[3] how many hashes
-- Returns how many names were there; -1 when another worker has owned the partition since: then nothing was deleted
-- Cost    O(names), and O(1) a name for the server's main thread
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
local found = 0
local hashes = tonumber(ARGV[3])
for i = 4, 3 + hashes do
  redis.call('HDEL', KEYS[i], ARGV[2])
end
for i = 4 + hashes, #KEYS do
  found = found + redis.call('UNLINK', KEYS[i])
end
return found
