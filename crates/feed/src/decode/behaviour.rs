//! How a pool behaves.

use rules::model::{Behaviour, Blocks, Dependence, MappingByPort, Pairing};

use super::Reader;
use crate::reject::Code;
use crate::wire;
use crate::wire::nat_pool::{Filtering, Mapping};

/// How a protocol is mapped and filtered.
pub(super) fn of(reader: &mut Reader, protocol: &str, mapping: i32, filtering: i32) -> Behaviour {
    let filtering = match Filtering::try_from(filtering) {
        Ok(Filtering::Default) => None,
        Ok(Filtering::Eif) => Some(Dependence::EndpointIndependent),
        Ok(Filtering::Adf) => Some(Dependence::AddressDependent),
        Ok(Filtering::Apdf) => Some(Dependence::AddressAndPortDependent),
        Err(_) => {
            reader.unknown_enum(&format!("{protocol}_filtering"), filtering);
            None
        }
    };
    Behaviour { mapping: self::mapping(reader, &format!("{protocol}_mapping"), mapping), filtering }
}

fn mapping(reader: &mut Reader, field: &str, mapping: i32) -> Option<Dependence> {
    match Mapping::try_from(mapping) {
        Ok(Mapping::Default) => None,
        Ok(Mapping::Eim) => Some(Dependence::EndpointIndependent),
        Ok(Mapping::Adm) => Some(Dependence::AddressDependent),
        Ok(Mapping::Apdm) => Some(Dependence::AddressAndPortDependent),
        Err(_) => {
            reader.unknown_enum(field, mapping);
            None
        }
    }
}

/// An exception for certain remote ports.
pub(super) fn by_port(reader: &mut Reader, field: &str, one: &wire::nat_pool::PortMapping) -> MappingByPort {
    let at = format!("{field}.mapping");
    if one.mapping == i32::from(Mapping::Default) {
        reader.fault(Code::MissingField, &at, "a mapping is missing");
    }
    let mapping = mapping(reader, &at, one.mapping);
    MappingByPort {
        protocol: reader.protocol(&format!("{field}.proto"), one.proto),
        ports: reader.ports(&format!("{field}.dst_ports"), one.dst_ports.as_ref()),
        mapping: mapping.unwrap_or(Dependence::EndpointIndependent),
    }
}

/// What a host is paired with.
pub(super) fn pairing(reader: &mut Reader, pairing: i32) -> Pairing {
    use wire::nat_pool::Pairing as Wire;
    match Wire::try_from(pairing) {
        Ok(Wire::Strict) => Pairing::Strict,
        Ok(Wire::Soft) => Pairing::Soft,
        Ok(Wire::None) => Pairing::None,
        Err(_) => {
            reader.unknown_enum("pairing", pairing);
            Pairing::default()
        }
    }
}

/// In which units ports are given.
pub(super) fn blocks(reader: &mut Reader, blocks: &wire::nat_pool::PortBlocks) -> Blocks {
    Blocks {
        ports: reader.u16("port_blocks.block_size", blocks.block_size),
        per_host_max: reader.u16("port_blocks.max_blocks_per_host", blocks.max_blocks_per_host),
    }
}
