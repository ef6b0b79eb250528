-- The search for the no-drop rate (RFC 2544 section 26.1, with a bound on loss as CSIT has it), and the ranges that make so
-- many flows. Plain Lua, without a generator: test.lua tries both.

local search = {}

-- The highest rate, in per cent of the line's, at which `trial` loses no more than a share of what was sent.
--
-- trial(rate)   sends at that rate for a while; returns how many packets were sent, and how many came back
-- bounds        loss: the largest share that may be lost; precision, lowest, highest: per cent of the line's rate
--
-- Returns the best trial, or nil where even the lowest rate loses more, and all trials in their order. A trial is
-- { rate =, sent =, received =, loss =, is_good = }.
function search.no_drop_rate(trial, bounds)
  local trials, best = {}, nil

  local function try(rate)
    local sent, received = trial(rate)
    assert(sent > 0, "the generator sent nothing: is the link up?")
    local loss = math.max(0, sent - received) / sent
    local one = { rate = rate, sent = sent, received = received, loss = loss, is_good = loss <= bounds.loss }
    trials[#trials + 1] = one
    if one.is_good and (not best or rate > best.rate) then best = one end
    return one.is_good
  end

  local low, high = bounds.lowest, bounds.highest
  if try(high) or not try(low) then return best, trials end
  while high - low > bounds.precision do
    local middle = (low + high) / 2
    if try(middle) then low = middle else high = middle end
  end
  return best, trials
end

local function common_divisor(one, other)
  while other ~= 0 do one, other = other, one % other end
  return one
end

-- So many hosts and ports that stepping both with each packet makes `flows` flows or a few more: Pktgen steps every field of
-- a range at once, so that there are as many as the least common multiple of their lengths.
function search.ranges(flows)
  local hosts_max, ports_max = 65000, 50000
  assert(flows >= 1 and flows <= hosts_max * ports_max / 2, "no ranges make so many flows: " .. flows)
  local hosts = math.min(hosts_max, math.ceil(math.sqrt(flows)))
  while true do
    local ports = math.ceil(flows / hosts)
    if ports <= ports_max and common_divisor(hosts, ports) == 1 then return hosts, ports end
    hosts = hosts + 1
  end
end

return search
