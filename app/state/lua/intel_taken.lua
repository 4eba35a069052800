-- intel_taken v1: drop objects from a queue that have been dealt with.             Called by state/intel_received.py: done
-- KEYS[1] stream  KEYS[2] hash of "<objects> <bytes>" by queue   ARGV[1] the queue's field  ARGV[2] id of the last one
-- Returns  how many were dropped; at most 1,000 in one call, so it is called until none is left
-- Cost     O(dropped)
local stream, waiting, field = KEYS[1], KEYS[2], ARGV[1]
local known = redis.call('HGET', waiting, field)
local objects, bytes = 0, 0
if known then
  local a, b = string.match(known, '^(%d+) (%d+)$')
  objects, bytes = tonumber(a), tonumber(b)
end
local entries = redis.call('XRANGE', stream, '-', ARGV[2], 'COUNT', 1000)
for _, entry in ipairs(entries) do
  redis.call('XDEL', stream, entry[1])
  objects, bytes = objects - 1, bytes - #entry[2][2]
end
if redis.call('XLEN', stream) == 0 then
  redis.call('DEL', stream)
  redis.call('HDEL', waiting, field)
else
  redis.call('HSET', waiting, field, string.format('%.0f %.0f', math.max(0, objects), math.max(0, bytes)))
end
return #entries
