-- intel_run v1: record a run of private matching, unless there were too many.      Called by state/intel_runs.py: take
-- KEYS[1] zset of runs, score unix ms
-- ARGV[1] run  ARGV[2] now, ms  ARGV[3] window, ms  ARGV[4] start of this peer's runs  ARGV[5] most of them
-- ARGV[6] start of the whole group's  ARGV[7] most of them  ARGV[8] most that are kept  ARGV[9] TTL, sec
-- Returns  {1, runs of this peer in the window with this one, 0}, or {0, that, ms when the oldest of them leaves the window}
-- Cost     O(runs in the window)
local now, window = tonumber(ARGV[2]), tonumber(ARGV[3])
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now - window), '+inf', 'WITHSCORES')
local peers, groups, peer_first, group_first = 0, 0, 0, 0
for i = 1, #found, 2 do
  if string.sub(found[i], 1, #ARGV[6]) == ARGV[6] then
    if groups == 0 then group_first = tonumber(found[i + 1]) end
    groups = groups + 1
  end
  if string.sub(found[i], 1, #ARGV[4]) == ARGV[4] then
    if peers == 0 then peer_first = tonumber(found[i + 1]) end
    peers = peers + 1
  end
end
if peers >= tonumber(ARGV[5]) then
  return {0, peers, peer_first + window}
end
if groups >= tonumber(ARGV[7]) then
  return {0, peers, group_first + window}
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[8]))
redis.call('EXPIRE', KEYS[1], ARGV[9])
return {1, peers + 1, 0}
