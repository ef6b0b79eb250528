-- Tries what needs no generator: `lua5.4 scripts/pktgen/test.lua`. It ends as cargo's tests do.

local here = arg[0]:match("(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path
local search = require("search")

local tests = {}
local BOUNDS = { loss = 0, precision = 0.5, lowest = 0.5, highest = 100 }

-- A gateway that carries so many per cent of the line's rate, of a generator that sends so many.
local function gateway(carries, generator)
  return function(rate)
    local sent = math.floor(1e6 * math.min(rate, generator or 100))
    return sent, math.min(sent, math.floor(1e6 * carries))
  end
end

function tests.the_rate_is_found_to_the_precision_and_from_below()
  for carries = 1, 99 do
    local best, trials = search.no_drop_rate(gateway(carries), BOUNDS)
    assert(best.rate <= carries and best.rate > carries - BOUNDS.precision, ("%d: %f"):format(carries, best.rate))
    assert(#trials <= 11, #trials .. " trials")
  end
end

function tests.who_carries_all_is_tried_once()
  local best, trials = search.no_drop_rate(gateway(100), BOUNDS)
  assert(best.rate == 100 and #trials == 1)
end

function tests.who_loses_at_every_rate_has_none()
  local best, trials = search.no_drop_rate(gateway(0.1), BOUNDS)
  assert(best == nil and #trials == 2)
end

function tests.loss_within_its_bound_is_none()
  local function loses_one_in_a_thousand(rate) return 1e6 * rate, 999e3 * rate end
  local bounds = { loss = 0.002, precision = 0.5, lowest = 0.5, highest = 100 }
  assert(search.no_drop_rate(loses_one_in_a_thousand, bounds).rate == 100)
  assert(search.no_drop_rate(loses_one_in_a_thousand, BOUNDS) == nil)
end

function tests.a_generator_at_its_end_is_seen_in_what_was_sent()
  local best = search.no_drop_rate(gateway(100, 40), BOUNDS)
  assert(best.sent == 40e6)
end

function tests.a_generator_that_sends_nothing_is_no_gateway_without_loss()
  assert(not pcall(search.no_drop_rate, function() return 0, 0 end, BOUNDS))
end

function tests.ranges_make_as_many_flows_as_are_wanted()
  for _, wanted in ipairs({ 1, 2, 1000, 64064 }) do
    local hosts, ports = search.ranges(wanted)
    local seen, count = {}, 0
    -- As Pktgen steps: every field with each packet.
    for packet = 0, hosts * ports - 1 do
      local flow = packet % hosts * 65536 + packet % ports
      if not seen[flow] then seen[flow], count = true, count + 1 end
    end
    assert(count == hosts * ports, ("%d of %d"):format(count, hosts * ports))
    assert(count >= wanted and count <= wanted * 1.05 + 2, ("%d for %d"):format(count, wanted))
  end
end

-- natgate.lua against a generator that notes what it is asked, and a gateway that carries 37 % of the line's rate.
function tests.the_script_asks_the_generator_for_what_it_means()
  local asked, ranges, rate, sent = {}, {}, 0, 0
  local function note(name) return function(...) asked[name] = { ... } end end
  local environment = {
    NATGATE_PKTGEN = here, GATEWAY_MAC = "fa16:3e00:0100", SIZES = "64", FLOWS = "1000", VLAN = "100", SECONDS = "2",
    REPORT = os.tmpname(),
  }
  local field = setmetatable({}, {
    __index = function(_, name)
      return function(port, what, value) ranges[name .. " " .. what] = value end
    end,
  })
  local generator = {
    range = field, vlan = note("vlan"), set_range = note("set_range"), delay = function() end, clr = function() end,
    set = function(_, what, value) if what == "rate" then rate = value end end,
    start = function() sent = 1e5 * rate end, stop = function() end, quit = note("quit"), latency = note("latency"),
    portStats = function(port)
      return { [tonumber(port)] = { opackets = sent, ipackets = math.min(sent, 37e5) } }
    end,
    pktStats = function(port) return { [tonumber(port)] = { latency = { min_us = 3, max_us = 9 } } } end,
  }
  local script = assert(loadfile(here .. "/natgate.lua", "t", setmetatable({
    pktgen = generator, print = function() end,
    os = setmetatable({ getenv = function(name) return environment[name] end }, { __index = os }),
  }, { __index = _G })))
  script()
  local report = io.open(environment.REPORT):read("a")
  os.remove(environment.REPORT)
  local best, mpps = report:match("\n64,%d+,([%d.]+),([%d.]+),0.0,3,9\n")
  assert(best and tonumber(best) <= 37 and tonumber(best) > 36.5, report)
  assert(math.abs(tonumber(mpps) - tonumber(best) * 0.1 / 2) < 1e-9, report)
  assert(ranges["src_ip min"] == "10.0.1.0" and ranges["dst_ip inc"] == "0.0.0.0" and ranges["vlan_id start"] == 100)
  assert(asked.quit and asked.set_range[2] == "on" and asked.latency[2] == "disable")
end

local passed, failed = 0, 0
for name, test in pairs(tests) do
  local is_well, what = pcall(test)
  if is_well then passed = passed + 1 else failed = failed + 1 end
  if not is_well then print(("FAILED %s: %s"):format(name, what)) end
end
print(("test result: %s. %d passed; %d failed; 0 ignored"):format(failed == 0 and "ok" or "FAILED", passed, failed))
os.exit(failed == 0)
