-- intel_delete v1: take versions of objects out of a collection.                     Called by state/intel.py: delete
-- KEYS[1..5] as of intel_add   ARGV names of versions
-- Returns  how many were there
-- Cost     O(log n) for each
local dated, newest, by_id, objects, size = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local gone = 0
for _, name in ipairs(ARGV) do
  if redis.call('ZREM', dated, name) == 1 then
    gone = gone + 1
    redis.call('HINCRBY', size, 'bytes', -redis.call('HSTRLEN', objects, name))
    redis.call('HDEL', objects, name)
    redis.call('ZREM', by_id, name)
    if redis.call('ZREM', newest, name) == 1 then
      local id = string.match(name, '^[^|]*')
      local left = redis.call('ZREVRANGEBYLEX', by_id, '(' .. id .. '}', '[' .. id .. '|', 'LIMIT', 0, 1)[1]
      if left then
        redis.call('ZADD', newest, redis.call('ZSCORE', dated, left), left)
      end
    end
  end
end
return gone
