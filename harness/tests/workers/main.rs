//! Native images that nobody vouches for: whatever their code does is a trap of one packet, and
//! the next packet runs.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod broken;
mod killed;
mod outside;
mod rig;
mod trusted;
