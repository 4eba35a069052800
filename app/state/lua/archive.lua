-- archive v1: fix which rows the next archive file holds, and drop them once the file is safe.
--                                                         Called by state/row_store.py: plan, finish
-- KEYS[1] fence  KEYS[2] rows stream  KEYS[3] plan        ARGV[1] our fence   ARGV[2] plan | finish
-- ARGV[3] plan: the file's "<first> <last>"; finish: the id after the last archived row
-- ARGV[4] finish: the plan that is done, "" for none
-- Returns  plan: the plan in force, ours or the one an interrupted writer left; finish: rows dropped; -1: not our partition
-- State    plan: string, removed by finish. A range once planned never changes, so that two writers who both believe
--          they own the partition produce the same file under the same name.
-- Cost     plan O(1); finish O(rows dropped)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
if ARGV[2] == 'plan' then
  local plan = redis.call('GET', KEYS[3])
  if not plan then
    redis.call('SET', KEYS[3], ARGV[3])
    plan = ARGV[3]
  end
  return plan
end
local dropped = redis.call('XTRIM', KEYS[2], 'MINID', ARGV[3])
if redis.call('GET', KEYS[3]) == ARGV[4] then
  redis.call('DEL', KEYS[3])
end
return dropped
