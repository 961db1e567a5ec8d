//! Interfaces in the worker's network namespace: redirect maps take only ports that exist.
#![expect(unsafe_code, reason = "a netlink socket")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpf::map::{MapSet, MapType};
use bpf::run::Environment;

use super::sys;

/// Kinds of interface that need nothing but a name, by how plain they are; a kernel need not have
/// all.
const KINDS: [&str; 3] = ["dummy", "ifb", "bridge"];

/// Creates the ports that the environment and the redirect maps name. `lo` is 1 and is there.
pub(super) fn create_all(environment: &Environment, maps: &MapSet) -> io::Result<()> {
    let mut ports: BTreeSet<u32> = environment.ports.iter().copied().collect();
    for map in maps.iter() {
        if matches!(map.kind(), MapType::Devmap | MapType::DevmapHash) {
            let values = map.host_keys().into_iter().map(|key| map.host_lookup(&key));
            let first = |value: Vec<u8>| Some(u32::from_le_bytes(*value.first_chunk()?));
            ports.extend(values.flatten().filter_map(first));
        }
    }
    ports.remove(&1);
    for port in ports {
        let mut made = Ok(());
        for kind in KINDS {
            made = create(port, kind);
            if made.is_ok() {
                break;
            }
        }
        made?;
    }
    Ok(())
}

/// Creates one interface with this index, unless it exists.
fn create(index: u32, kind: &str) -> io::Result<()> {
    /// `RTM_NEWLINK`.
    const NEW_LINK: u16 = 16;
    /// Request, with an answer, to create what does not exist.
    const FLAGS: u16 = 0x1 | 0x4 | 0x200 | 0x400;
    /// `IFLA_LINKINFO`, and in it `IFLA_INFO_KIND`.
    const LINK_INFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    /// `EEXIST`, as the answer holds it.
    const EXISTS: i32 = -17;
    let attribute = |id: u16, value: &[u8]| {
        let mut bytes = ((value.len() + 4) as u16).to_le_bytes().to_vec();
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    // struct ifinfomsg: family, type, index, flags, changes.
    let mut body = vec![0; 16];
    body[4..8].copy_from_slice(&index.to_le_bytes());
    body.extend(attribute(LINK_INFO, &attribute(INFO_KIND, kind.as_bytes())));
    // struct nlmsghdr: length, type, flags, number, sender.
    let mut message = (body.len() as u32 + 16).to_le_bytes().to_vec();
    message.extend_from_slice(&NEW_LINK.to_le_bytes());
    message.extend_from_slice(&FLAGS.to_le_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend(body);

    let socket = socket()?;
    let mut answer = [0u8; 1024];
    // SAFETY: the message is readable for its length.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the answer is writable for its length.
    let got = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            answer.as_mut_ptr().cast(),
            answer.len(),
            0,
        )
    };
    if got < 20 {
        return Err(io::Error::last_os_error());
    }
    // struct nlmsgerr: a header, then the negative error number.
    match i32::from_le_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 | EXISTS => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: creates a descriptor, touches no memory.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(sys::owned(fd))
}
