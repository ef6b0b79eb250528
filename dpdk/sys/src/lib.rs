//! DPDK as C has it: the bindings that bindgen writes from the installed headers, the shim's functions, and a view of
//! `rte_mbuf`. The crate `dpdk` makes it safe; nothing else should depend on this one.

mod mbuf;

pub use bindings::*;
pub use mbuf::rte_mbuf;

#[allow(non_camel_case_types, non_snake_case, non_upper_case_globals, unreachable_pub, dead_code)]
#[allow(clippy::all, clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]
mod bindings {
    use crate::rte_mbuf;

    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}
