-- intel_receive v1: queue objects that a member has sent, as many as fit.        Called by state/intel_received.py: received
-- KEYS[1] stream {o: object, t: time, µs}   KEYS[2] hash of "<objects> <bytes>" by queue
-- ARGV[1] the queue's field  ARGV[2] most objects  ARGV[3] most bytes  ARGV[4] TTL, sec  ARGV[5] time, µs  then the objects
-- Returns  how many were taken, from the first on
-- State    what has waited for longer than the TTL is forgotten, 1,000 of them in one call
-- Cost     O(objects)
local stream, waiting, field = KEYS[1], KEYS[2], ARGV[1]
local objects, bytes = 0, 0
if redis.call('EXISTS', stream) == 1 then
  local known = redis.call('HGET', waiting, field)
  if known then
    local a, b = string.match(known, '^(%d+) (%d+)$')
    objects, bytes = tonumber(a), tonumber(b)
  end
  local old = string.format('%.0f', redis.call('TIME')[1] * 1000 - ARGV[4] * 1000)
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', old, 'COUNT', 1000)) do
    redis.call('XDEL', stream, entry[1])
    objects, bytes = objects - 1, bytes - #entry[2][2]
  end
end
local taken = 0
for at = 6, #ARGV do
  if objects >= tonumber(ARGV[2]) or bytes + #ARGV[at] > tonumber(ARGV[3]) then
    break
  end
  redis.call('XADD', stream, '*', 'o', ARGV[at], 't', ARGV[5])
  objects, bytes, taken = objects + 1, bytes + #ARGV[at], taken + 1
end
if objects > 0 then
  redis.call('HSET', waiting, field, string.format('%.0f %.0f', objects, bytes))
  redis.call('EXPIRE', stream, ARGV[4])
  redis.call('EXPIRE', waiting, ARGV[4])
end
return taken
