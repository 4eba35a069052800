-- lease v1: own one partition, with a fencing token.     Called by state/ownership.py: acquire, renew, release
-- KEYS[1] owner  KEYS[2] fence                            ARGV[1] acquire | renew | release
-- ARGV[2] acquire: worker id; else the owner value "<fence>:<worker>" that acquire made   ARGV[3] lease, ms
-- Returns  acquire: the new fence, or 0 when another worker owns it; renew, release: 1, or 0 when it is no longer ours
-- State    owner: string with PX; fence: integer that only grows, so a commit made under an older one can be refused
-- Cost     O(1)
if ARGV[1] == 'acquire' then
  local owner = redis.call('GET', KEYS[1])
  -- Our own id means that the reply to an earlier acquire was lost: take it again, under a new fence.
  if owner and string.match(owner, '^%d+:(.*)$') ~= ARGV[2] then
    return 0
  end
  local fence = redis.call('INCR', KEYS[2])
  redis.call('SET', KEYS[1], fence .. ':' .. ARGV[2], 'PX', ARGV[3])
  return fence
end
if redis.call('GET', KEYS[1]) ~= ARGV[2] then
  return 0
end
if ARGV[1] == 'renew' then
  return redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('DEL', KEYS[1])
