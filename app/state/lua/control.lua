-- control v1: change one thing of the control plane and say so, as one step.     Called by state/control.py: _change
-- KEYS[1] stream of changes  KEYS[2] hash: the document, the allow-list or the groups of marks
-- ARGV[1] set | put | delete   ARGV[2] longest stream   ARGV[3] field or subject   ARGV[4] value
-- ARGV[5] set: the version that the writer has seen, "" for any   put: most entries   ARGV[6] what the stream calls it: doc,
--         allow or group
-- Returns  set: the new version, or {the present one} when it is another than expected; put: 1 new, 0 replaced, -1 when
--          there are too many; delete: 1, 0 when there was none
-- State    document: fields policy, plans, kill, and version, which counts the changes of the first two. Every entry of the
--          stream names the one before it (p), so that a reader sees that it missed some.
-- Cost     O(1)
local what, field = ARGV[1], ARGV[3]
local answer

if what == 'set' then
  local version = tonumber(redis.call('HGET', KEYS[2], 'version') or '0')
  if ARGV[5] ~= '' and tonumber(ARGV[5]) ~= version then
    return {version}
  end
  if field ~= 'kill' then
    version = version + 1
  end
  redis.call('HSET', KEYS[2], field, ARGV[4], 'version', version)
  answer = version
elseif what == 'put' then
  if redis.call('HEXISTS', KEYS[2], field) == 0 and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) then
    return -1
  end
  answer = redis.call('HSET', KEYS[2], field, ARGV[4])
else
  answer = redis.call('HDEL', KEYS[2], field)
end

local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local before = newest[1] and newest[1][1] or '0-0'
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'p', before, 'w', ARGV[6], 'k', field)
return answer
