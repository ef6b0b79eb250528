//! The TCP flags a NAT reads (RFC 9293), as bits of [`Parsed::tcp_flags`](crate::Parsed::tcp_flags).

/// The sender has finished sending.
pub const FIN: u8 = 0x01;
/// Opens a connection.
pub const SYN: u8 = 0x02;
/// Aborts a connection.
pub const RST: u8 = 0x04;
/// Data to hand over at once.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;
