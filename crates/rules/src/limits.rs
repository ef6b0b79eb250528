//! How much a gateway holds.
//!
//! Fed data are untrusted, so everything that can be many has a bound. The bounds keep a compiled rule set within a few
//! hundred megabytes at the very worst; they are far above what a gateway server carries in practice.

/// Segments of one gateway.
pub const SEGMENTS_MAX: usize = 16_384;
/// Pools of one gateway.
pub const POOLS_MAX: usize = 4_096;
/// Routers of one gateway.
pub const ROUTERS_MAX: usize = 32_768;
/// Interfaces of all routers together.
pub const INTERFACES_MAX: usize = 131_072;
/// Floating IPs of all routers together.
pub const FLOATING_IPS_MAX: usize = 524_288;
/// Port forwardings of all routers together.
pub const PORT_FORWARDINGS_MAX: usize = 524_288;
/// Extra routes and `no_nat` prefixes of all routers together.
pub const ROUTES_MAX: usize = 524_288;
/// Addresses of all pools together. What a gateway translates to it has room for from its start, 576 KiB and a little for
/// each address, and says so in `external_addresses_max`: 19 GB at this limit, mostly far less.
pub const ALL_POOL_ADDRESSES_MAX: usize = 32_768;

/// Realm numbers: for every router and segment, and for as many deleted ones whose sessions have not ended.
pub const REALMS_MAX: u32 = 65_535;

const _: () = assert!(SEGMENTS_MAX + ROUTERS_MAX < REALMS_MAX as usize);

/// Interfaces of one router.
pub const ROUTER_INTERFACES_MAX: usize = 32;
/// Addresses of one interface.
pub const INTERFACE_ADDRESSES_MAX: usize = 16;
/// Gateways of one router.
pub const ROUTER_GATEWAYS_MAX: usize = 8;
/// Extra routes of one router.
pub const ROUTER_ROUTES_MAX: usize = 1_024;
/// Floating IPs of one router.
pub const ROUTER_FLOATING_IPS_MAX: usize = 16_384;
/// Port forwardings of one router.
pub const ROUTER_PORT_FORWARDINGS_MAX: usize = 16_384;
/// Entries of `timeouts.by_port` of one router: every new session looks through them.
pub const TIMEOUTS_BY_PORT_MAX: usize = 64;
/// `no_nat` prefixes of one router.
pub const ROUTER_NO_NAT_MAX: usize = 256;
/// Address runs of one pool.
pub const POOL_RUNS_MAX: usize = 1_024;
/// Runs of excluded ports of one pool.
pub const POOL_EXCLUDED_PORTS_MAX: usize = 256;
/// Entries of `mapping_by_port` of one pool: every new session looks through them.
pub const MAPPING_BY_PORT_MAX: usize = 64;
/// Ports of a block: the fewest.
pub const BLOCK_PORTS_MIN: u16 = 8;
/// Ports of a block: the most.
pub const BLOCK_PORTS_MAX: u16 = 4_096;
/// Blocks that a host has at once for one protocol, at most: a new mapping looks through them.
pub const BLOCKS_PER_HOST_MAX: u16 = 64;
/// Addresses of one pool.
pub const POOL_ADDRESSES_MAX: u64 = 8_192;

/// Smallest MTU that every IPv4 host accepts as a whole packet (RFC 791).
pub const MTU_MIN: u16 = 576;
/// Largest MTU: a jumbo frame.
pub const MTU_MAX: u16 = 9_216;
/// Longest timer: a week, in seconds.
pub const TIMEOUT_S_MAX: u32 = 604_800;
/// Longest free text, in bytes.
pub const TEXT_BYTES_MAX: usize = 255;
