-- Measures a gateway between two ports of Pktgen-DPDK: the no-drop rate for each size and number of flows, and the latency at
-- half of it. Run by scripts/pktgen/run, which says in the environment what is where; docs/benchmarking.md has the wiring.

package.path = os.getenv("NATGATE_PKTGEN") .. "/?.lua;" .. package.path
local search = require("search")

local function given(name, otherwise)
  local value = os.getenv(name) or otherwise
  assert(value, name .. " is not given: see scripts/pktgen/run --help")
  return value
end

local function numbers(name, otherwise)
  local found = {}
  for number in given(name, otherwise):gmatch("%d+") do found[#found + 1] = tonumber(number) end
  return found
end

-- Frames go out by one port and come back by another; by the same one where a machine behind the gateway reflects them.
local SEND, RECEIVE = given("SEND", "0"), given("RECEIVE", "1")
local SECONDS = tonumber(given("SECONDS", "10"))
local BOUNDS = { loss = tonumber(given("LOSS", "0")), precision = 0.5, lowest = 0.5, highest = 100 }
-- What is still under way when sending stops.
local SETTLES_MS = 1000

local function address(first, number)
  local a, b, c, d = first:match("(%d+)%.(%d+)%.(%d+)%.(%d+)")
  local value = ((a * 256 + b) * 256 + c) * 256 + d + number
  local function part(shift) return math.floor(value / shift) % 256 end
  return ("%d.%d.%d.%d"):format(part(2 ^ 24), part(2 ^ 16), part(2 ^ 8), part(1))
end

-- One field of a range: where it begins, how it steps, and its ends.
local function range(field, first, step, last)
  for what, value in pairs({ start = first, inc = step, min = first, max = last }) do
    pktgen.range[field](SEND, what, value)
  end
end

local function send_flows(flows, size)
  local hosts, ports = search.ranges(flows)
  local source, destination = given("SOURCE", "10.0.0.0"), given("DESTINATION", "198.51.100.2")
  pktgen.range.dst_mac(SEND, "start", given("GATEWAY_MAC"))
  range("src_ip", address(source, 256), "0.0.0.1", address(source, 255 + hosts))
  range("src_port", 1024, 1, 1023 + ports)
  range("dst_ip", destination, "0.0.0.0", destination)
  range("dst_port", 443, 0, 443)
  range("pkt_size", size, 0, size)
  local vlan = os.getenv("VLAN")
  if vlan then
    range("vlan_id", tonumber(vlan), 0, tonumber(vlan))
    pktgen.vlan(SEND, "on")
  end
  pktgen.range.ip_proto(SEND, "udp")
  pktgen.set_range(SEND, "on")
  pktgen.set(SEND, "count", 0)
  return hosts * ports
end

local function trial(rate)
  pktgen.clr()
  pktgen.set(SEND, "rate", rate)
  pktgen.start(SEND)
  pktgen.delay(SECONDS * 1000)
  pktgen.stop(SEND)
  pktgen.delay(SETTLES_MS)
  local sent = pktgen.portStats(SEND, "port")[tonumber(SEND)].opackets
  local received = pktgen.portStats(RECEIVE, "port")[tonumber(RECEIVE)].ipackets
  return sent, received
end

local function latency_us(rate)
  pktgen.latency(SEND, "enable")
  trial(rate)
  local latency = pktgen.pktStats(RECEIVE)[tonumber(RECEIVE)].latency or {}
  pktgen.latency(SEND, "disable")
  return latency.min_us, latency.max_us
end

local function main()
  local report = assert(io.open(given("REPORT", "pktgen.csv"), "w"))
  report:write("size,flows,rate_percent,sent_mpps,loss,latency_min_us,latency_max_us\n")
  for _, size in ipairs(numbers("SIZES", "64 512 1500")) do
    for _, wanted in ipairs(numbers("FLOWS", "1000 64064 1000000")) do
      local flows = send_flows(wanted, size)
      -- Sessions are opened before anything counts.
      trial(BOUNDS.lowest)
      local best, trials = search.no_drop_rate(trial, BOUNDS)
      local row = { size, flows, "not met", "", trials[#trials].loss, "", "" }
      if best then
        local least, most = latency_us(best.rate / 2)
        row = { size, flows, best.rate, best.sent / SECONDS / 1e6, best.loss, least or "", most or "" }
      end
      for column, value in ipairs(row) do row[column] = tostring(value) end
      local line = table.concat(row, ",")
      report:write(line, "\n")
      report:flush()
      print(line)
    end
  end
  report:close()
  pktgen.quit()
end

main()
