//! IPv4 fragments (RFC 791): where one lies in its datagram, whose it is, and how a packet is cut into some.
//!
//! ```text
//! datagram     | first         | later         | later    |
//!              0               offset          offset     end: known from the last, which has no MF
//!               '---- all carry the same source, destination, protocol and identification ----'
//! ```
//!
//! A router cuts what may be cut, and nobody but the receiver puts it together again. So a cut piece of a fragment is a
//! fragment of the same datagram, and nothing here waits for another.

use zerocopy::FromBytes;

use crate::ethernet::LinkHeader;
use crate::wire::{self, ether_type};
use crate::{Frame, NoRoom, Parsed, checksum};

/// The part of its datagram that a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The datagram's, from its sender.
    pub identification: u16,
    /// Where it begins, in bytes.
    pub start: u16,
    /// Where it ends, in bytes.
    pub end: u16,
    /// No other lies behind it.
    pub is_last: bool,
}

/// Reads what part of its datagram a packet is; of a whole one, all of it.
pub fn part(bytes: &[u8], parsed: &Parsed) -> Part {
    let header =
        bytes.get(parsed.network_range()).and_then(|packet| wire::Ipv4::ref_from_prefix(packet).ok());
    let Some((header, _)) = header else {
        return Part { identification: 0, start: 0, end: 0, is_last: true };
    };
    let start = header.fragment_offset() * 8;
    Part {
        identification: header.identification.get(),
        start,
        // At most 65,535: one that ends beyond is not parsed.
        end: start.saturating_add(parsed.transport_range().len() as u16),
        is_last: !header.more_fragments(),
    }
}

/// Gives a packet another identification.
pub fn set_identification(bytes: &mut [u8], parsed: &Parsed, identification: u16) {
    let packet = bytes.get_mut(parsed.network_range());
    let Some(Ok((header, _))) = packet.map(wire::Ipv4::mut_from_prefix) else { return };
    let changed = checksum::Difference::NONE.u16(header.identification.get(), identification);
    header.identification.set(identification);
    header.checksum.set(changed.apply(header.checksum.get()));
}

/// The most pieces that one packet is cut into: what a jumbo frame needs at the smallest usual MTU, 576.
pub const PIECES_MAX: usize = 32;

/// How a packet is cut: which bytes of its payload go into which piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of payload in every piece but the last: a multiple of 8.
    payload_max: usize,
    payload: usize,
}

impl Cut {
    /// How to cut a packet of up to 65,535 bytes for links of this MTU; `None` where that takes more than [`PIECES_MAX`].
    ///
    /// Each piece is made as if it had all of the packet's options, as the first has.
    pub fn plan(parsed: &Parsed, mtu: u16) -> Option<Self> {
        let header = usize::from(parsed.transport_offset - parsed.network_offset);
        let payload_max = usize::from(mtu).checked_sub(header)? & !7;
        let cut = Self { payload_max, payload: usize::from(parsed.total_length).checked_sub(header)? };
        (payload_max > 0 && cut.pieces() <= PIECES_MAX).then_some(cut)
    }

    /// Pieces, the first included.
    pub fn pieces(&self) -> usize {
        self.payload.div_ceil(self.payload_max)
    }

    /// Makes `frame`, whatever it held, into the piece of this number, counted from 1; the first is made by
    /// [`shorten`](Self::shorten). `bytes` and `parsed` are of the packet as it would leave whole.
    ///
    /// # Errors
    /// [`NoRoom`] where the frame's buffer is too small.
    //= rfc791#3.2
    pub fn write(
        &self,
        number: usize,
        frame: &mut impl Frame,
        link: LinkHeader,
        bytes: &[u8],
        parsed: &Parsed,
    ) -> Result<(), NoRoom> {
        let packet = bytes.get(parsed.network_range()).ok_or(NoRoom)?;
        let header_length = usize::from(parsed.transport_offset - parsed.network_offset);
        let (header, payload) = packet.split_at_checked(header_length).ok_or(NoRoom)?;
        let (fixed, options) = header.split_at_checked(wire::Ipv4::LENGTH_MIN).ok_or(NoRoom)?;
        let start = number * self.payload_max;
        let end = (start + self.payload_max).min(payload.len());
        let piece = payload.get(start..end).ok_or(NoRoom)?;
        let (copied, copied_length) = copied_options(options);
        let new_header_length = fixed.len() + copied_length;
        let total_length = new_header_length + piece.len();

        frame.resize(link.length() + total_length)?;
        let bytes = frame.bytes_mut();
        link.write(bytes, ether_type::IPV4);
        let new = bytes.get_mut(link.length()..).ok_or(NoRoom)?;
        for (place, byte) in
            new.iter_mut().zip(fixed.iter().chain(copied.iter().take(copied_length)).chain(piece))
        {
            *place = *byte;
        }
        let (new_header, _) = new.split_at_mut_checked(new_header_length).ok_or(NoRoom)?;
        let is_last = end == payload.len();
        set_part(new_header, total_length as u16, (start / 8) as u16, is_last);
        Ok(())
    }

    /// Makes the packet itself into its first piece, under the link header that it has.
    pub fn shorten(&self, frame: &mut impl Frame, parsed: &Parsed) {
        let header_length = usize::from(parsed.transport_offset - parsed.network_offset);
        let total_length = header_length + self.payload_max.min(self.payload);
        let network_offset = usize::from(parsed.network_offset);
        // Shorter than it is: there is room.
        let _ = frame.resize(network_offset + total_length);
        let header = frame.bytes_mut().get_mut(network_offset..network_offset + header_length);
        if let Some(header) = header {
            set_part(header, total_length as u16, 0, self.pieces() < 2);
        }
    }
}

/// Writes into a piece's header how long it is, and what part of the packet: `units` of eight bytes behind its start. The
/// last piece of a fragment is followed by others if the fragment was.
fn set_part(header_bytes: &mut [u8], total_length: u16, units: u16, is_last: bool) {
    let length = header_bytes.len();
    let Ok((header, _)) = wire::Ipv4::mut_from_prefix(header_bytes) else { return };
    header.version_and_length = 0x40 | (length / 4) as u8;
    header.total_length.set(total_length);
    let more = if is_last { 0 } else { wire::Ipv4::MORE_FRAGMENTS };
    // A fragment ends within 65,535 bytes, so its pieces begin there.
    header.flags_and_offset.set((header.flags_and_offset.get() + units) | more);
    header.checksum.set(0);
    let checksum = checksum::checksum(header_bytes);
    if let Ok((header, _)) = wire::Ipv4::mut_from_prefix(header_bytes) {
        header.checksum.set(checksum);
    }
}

/// The most bytes of options.
const OPTIONS_MAX: usize = 40;

/// The options that every piece has to carry, and their length, filled up to words: those with the copied flag. What cannot
/// be read as options ends them.
fn copied_options(options: &[u8]) -> ([u8; OPTIONS_MAX], usize) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let (mut copied, mut length) = ([END; OPTIONS_MAX], 0);
    let mut rest = options;
    while let [kind, behind @ ..] = rest {
        if *kind == NO_OPERATION {
            rest = behind;
            continue;
        }
        let option_length = usize::from(behind.first().copied().unwrap_or(0));
        let Some((option, next)) = rest.split_at_checked(option_length) else { break };
        if *kind == END || option_length < 2 {
            break;
        }
        if kind & COPIED != 0
            && let Some(place) = copied.get_mut(length..length + option_length)
        {
            place.copy_from_slice(option);
            length += option_length;
        }
        rest = next;
    }
    (copied, length.next_multiple_of(4))
}

#[cfg(test)]
mod tests;
