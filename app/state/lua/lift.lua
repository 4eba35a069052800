-- lift v1: take back what is done about a key, for a time, and say so.             Called by state/holds.py: lift, undo
-- KEYS[1] verdict  KEYS[2] hold  KEYS[3] timeline, all of one key
-- ARGV[1] the hold; "" ends one   ARGV[2] its life, ms   ARGV[3] timeline item, JSON   ARGV[4] TTL of the timeline, sec
-- Returns  1, or 0 when there was no hold to end: then nothing was done
-- State    while the hold is there commit.lua writes no verdict for the key, so `decide` finds none and needs no second read
-- Cost     O(1)
local TIMELINE_LENGTH = 100
if ARGV[1] == '' then
  if redis.call('DEL', KEYS[2]) == 0 then
    return 0
  end
else
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  redis.call('DEL', KEYS[1])
end
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('LTRIM', KEYS[3], 0, TIMELINE_LENGTH - 1)
redis.call('EXPIRE', KEYS[3], ARGV[4])
return 1
