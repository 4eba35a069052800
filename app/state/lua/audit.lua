-- audit v1: append one record to the chain if its head is still the one the record was chained to.   Called by state/audit.py
-- KEYS[1] stream of records {r: canonical JSON, d: digest}        KEYS[2] hash: number and digest of the head and of the anchor
-- ARGV[1] digest of the head the writer knows; "" when there is none   ARGV[2] digest of the record   ARGV[3] the record
-- ARGV[4] number of the record   ARGV[5] how long records are kept, ms   ARGV[6] most records that one call trims
-- Returns  {1, number, digest of the head} appended, or it was before: a repeated call changes nothing
--          {0, number, digest of the head} somebody else was faster; the writer chains its record to this head instead
-- State    the anchor is the last record that was trimmed; verification starts from its digest. No TTL: trimmed by age.
-- Cost     O(records trimmed); 32 records are read when somebody else was faster
local stream, chain = KEYS[1], KEYS[2]
local head = redis.call('HMGET', chain, 'number', 'digest')
local number, digest = head[1] or '0', head[2] or ''
if digest == ARGV[2] then
  return { 1, number, digest }
end
if digest ~= ARGV[1] then
  -- A call that is repeated after its answer was lost may find that others have written since.
  for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 32)) do
    if entry[2][4] == ARGV[2] then
      return { 1, number, digest }
    end
  end
  return { 0, number, digest }
end
redis.call('XADD', stream, '*', 'r', ARGV[3], 'd', ARGV[2])
redis.call('HSET', chain, 'number', ARGV[4], 'digest', ARGV[2])
local time = redis.call('TIME')
local old = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[5] - 1)
local gone = redis.call('XRANGE', stream, '-', old, 'COUNT', ARGV[6])
if #gone > 0 then
  local last = gone[#gone]
  local kept = redis.call('XRANGE', stream, '(' .. last[1], '+', 'COUNT', 1)
  redis.call('HINCRBY', chain, 'anchor_number', #gone)
  redis.call('HSET', chain, 'anchor_digest', last[2][4])
  redis.call('XTRIM', stream, 'MINID', kept[1][1])
end
return { 1, ARGV[4], ARGV[2] }
