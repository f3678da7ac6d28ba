//! What may stand between a client and its server: negotiations that come before everything else on a
//! connection, without I/O, one file each.

pub mod sockproxy;
