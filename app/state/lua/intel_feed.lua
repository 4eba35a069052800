-- intel_feed v1: a member's signed feeds only go on, never back.                    Called by state/intel_signers.py: claim
-- KEYS[1] hash of "<fingerprint> <seq> <digest> <done>" by member
-- ARGV[1] field  ARGV[2] fingerprint  ARGV[3] seq, below 2^53  ARGV[4] digest  ARGV[5] 1: all of it was taken  ARGV[6] most fields
-- Returns  new, again, done, older, other or full; the last three write nothing
-- Cost     O(1)
local known = redis.call('HGET', KEYS[1], ARGV[1])
local answer = 'new'
if known then
  local key, seq, digest, done = string.match(known, '^(%S+) (%S+) (%S+) (%S+)$')
  if key == ARGV[2] then
    if tonumber(ARGV[3]) < tonumber(seq) then return 'older' end
    if seq == ARGV[3] then
      if digest ~= ARGV[4] then return 'other' end
      if done == '1' then return 'done' end
      answer = 'again'
    end
  end
elseif redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then
  return 'full'
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
return answer
