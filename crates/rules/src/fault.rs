//! What can be wrong with rules, and where.
//!
//! A fault names the object, the path of the field inside it and the reason, in one readable line; the code is for
//! machines. Codes have the numbers of the feed's protocol. Those it has beyond these speak of the stream or of
//! features that this model has no field for.

use std::fmt;

use crate::object::ObjectRef;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $text:literal,)*) => {
        /// Why an object was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum Code {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as documents and tools write it, as `EXTERNAL_IP_CONFLICT`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// An id is not 1 to 64 of `A-Za-z0-9._:-`.
    BadId = 1 "BAD_ID",
    /// The same id twice.
    DuplicateId = 2 "DUPLICATE_ID",
    /// Something necessary is absent.
    MissingField = 3 "MISSING_FIELD",
    /// An address that cannot stand where it stands.
    BadAddress = 4 "BAD_ADDRESS",
    /// A number or a text outside its bounds.
    OutOfRange = 6 "OUT_OF_RANGE",
    /// Sensible, but not something this gateway does.
    UnsupportedFeature = 8 "UNSUPPORTED_FEATURE",
    /// No segment has this id.
    UnknownSegment = 9 "UNKNOWN_SEGMENT",
    /// No pool has this id.
    UnknownPool = 10 "UNKNOWN_POOL",
    /// The router has no interface of this id.
    UnknownInterface = 11 "UNKNOWN_INTERFACE",
    /// The gateway has no port of this name.
    UnknownPort = 13 "UNKNOWN_PORT",
    /// A pool or segment that is to be deleted while a router names it.
    InUse = 14 "IN_USE",
    /// Two interfaces of a router with overlapping subnets.
    InterfaceOverlap = 15 "INTERFACE_OVERLAP",
    /// The same MAC twice on a segment.
    DuplicateMac = 16 "DUPLICATE_MAC",
    /// The same interface address twice on a segment.
    DuplicateIp = 17 "DUPLICATE_IP",
    /// A next hop that is on none of the subnets it has to be on.
    NoRouteToNexthop = 19 "NO_ROUTE_TO_NEXTHOP",
    /// A next hop that is the router's own address.
    RouteLoop = 20 "ROUTE_LOOP",
    /// Two routes to one prefix.
    DuplicateRoute = 21 "DUPLICATE_ROUTE",
    /// The gateway's interface does not lead to an external network.
    GatewayNotExternal = 22 "GATEWAY_NOT_EXTERNAL",
    /// SNAT with no address to translate to.
    SnatWithoutPool = 23 "SNAT_WITHOUT_POOL",
    /// An external address that has another use already.
    ExternalIpConflict = 25 "EXTERNAL_IP_CONFLICT",
    /// Two floating IPs for one internal address.
    FipDuplicateInternal = 26 "FIP_DUPLICATE_INTERNAL",
    /// A floating IP for an address that the router does not reach on its internal side.
    FipInternalNotOnRouter = 27 "FIP_INTERNAL_NOT_ON_ROUTER",
    /// A floating IP for an address that has port forwardings.
    FipHasPortForwarding = 28 "FIP_HAS_PORT_FORWARDING",
    /// A port forwarding of an address that is a floating IP.
    PfOnBoundFip = 29 "PF_ON_BOUND_FIP",
    /// Two port forwardings of one port.
    PfOverlap = 30 "PF_OVERLAP",
    /// A port forwarding to another number of ports.
    PfRangeMismatch = 31 "PF_RANGE_MISMATCH",
    /// A port forwarding of a port that a pool gives to flows.
    PfPortInSnatRange = 32 "PF_PORT_IN_SNAT_RANGE",
    /// Two segments for the same frames, or two gateways on one network.
    RuleAmbiguous = 34 "RULE_AMBIGUOUS",
    /// A pool without an address, or without a port.
    PoolEmpty = 35 "POOL_EMPTY",
    /// A pool with more addresses than a pool may have.
    PoolTooLarge = 36 "POOL_TOO_LARGE",
    /// An address in two pools of one external network, or twice in one pool.
    PoolOverlap = 37 "POOL_OVERLAP",
    /// Blocks of ports that are not a power of two, or larger than the pool's ports.
    BlockSize = 38 "BLOCK_SIZE",
    /// More objects than the gateway holds.
    Capacity = 44 "CAPACITY",
}

impl Code {
    /// The number that the feed's protocol gives it.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// Whether the same object may be accepted later without a change to it.
    pub const fn retry_may_help(self) -> bool {
        matches!(self, Self::Capacity)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong with one object.
///
/// Reads as `router r1: floating_ips[3].external: EXTERNAL_IP_CONFLICT: 203.0.113.9 is ... (router r2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub code: Code,
    /// The object that is refused for it.
    pub object: ObjectRef,
    /// The field's path inside the object, as `floating_ips[3].external`; empty where the whole object is meant.
    pub field: String,
    /// What is wrong, and what would be right, for a person.
    pub message: String,
    /// The other object, where two do not go together: the one that is there already, or that is missing.
    pub conflicts_with: Option<ObjectRef>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.conflicts_with {
            Some(other) if *other != self.object => write!(f, " ({other})"),
            _ => Ok(()),
        }
    }
}
