//! The loopback of the room's own network, which is the only interface there: up, as engines have it.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};

const LOOPBACK: i32 = 1;
const IFF_UP: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
/// NLM_F_REQUEST and NLM_F_ACK.
const REQUEST_WITH_ANSWER: u16 = 1 | 4;
const LENGTH: u32 = 32;

/// Sends one netlink message (rtnetlink(7), RTM_NEWLINK) and reads the answer.
pub(super) fn bring_up() -> io::Result<()> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    message.extend([0; 8]);
    // ifinfomsg: family, padding, type, index, flags, mask of flags.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let field = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    match i32::from_ne_bytes(field(16)) {
        0 if kind == NLMSG_ERROR && length >= 20 => Ok(()),
        error if kind == NLMSG_ERROR => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::Error::other("the kernel gave no answer that is understood")),
    }
}
