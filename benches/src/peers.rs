//! Foreign engines beside ours, for comparison. They run unchecked in this process.
#![expect(
    unsafe_code,
    reason = "foreign code runs here, over memory at addresses it can name"
)]

use std::ptr::NonNull;

use bpf::Program;
use bpf::run::Batch;
use isa::ebpf::{CallTarget, Insn, Wide};

/// Bytes of memory for one frame.
const FRAME_ROOM: usize = 1 << 14;

/// rbpf's JIT with one program that has neither maps nor helpers.
///
/// Packet pointers of an XDP context have 32 bits, so frames are copied below 4 GiB, which is
/// measured with the program.
pub struct RbpfJit {
    vm: rbpf::EbpfVmRaw<'static>,
    /// The context, then the frame; below 4 GiB.
    memory: NonNull<u8>,
}

impl std::fmt::Debug for RbpfJit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RbpfJit")
    }
}

impl RbpfJit {
    /// Compiles the program.
    ///
    /// # Errors
    /// Why it is not run, in words.
    pub fn new(program: &Program) -> Result<RbpfJit, String> {
        let foreign = program.insns.iter().find(|insn| {
            matches!(
                insn,
                Insn::Call(CallTarget::Helper(_))
                    | Insn::LoadWide {
                        value: Wide::Map(_) | Wide::MapValue { .. },
                        ..
                    }
            )
        });
        if let Some(insn) = foreign {
            return Err(format!(
                "maps and helpers are not wired to the peer ({insn})"
            ));
        }
        let code = isa::ebpf::encode(&program.insns).map_err(|e| e.to_string())?;
        let code: &'static [u8] = Box::leak(code.into_boxed_slice());
        let mut vm = rbpf::EbpfVmRaw::new(Some(code)).map_err(|e| e.to_string())?;
        vm.jit_compile().map_err(|e| e.to_string())?;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                FRAME_ROOM,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err("no memory below 4 GiB".to_owned());
        }
        let memory = NonNull::new(memory.cast()).ok_or("no memory below 4 GiB")?;
        Ok(RbpfJit { vm, memory })
    }

    /// Runs the program on every frame of the batch; only r0 is brought back.
    ///
    /// # Panics
    /// If the peer fails.
    #[expect(clippy::panic, reason = "a peer that fails has no figure")]
    pub fn process(&mut self, batch: &mut Batch) {
        for index in 0..batch.frames.len() {
            let length = batch.bytes(index).len().min(FRAME_ROOM - 64);
            let bytes = &batch.bytes(index)[..length];
            // SAFETY: the mapping has FRAME_ROOM bytes, and only this value uses it.
            let memory =
                unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), FRAME_ROOM) };
            let (context, frame) = memory.split_at_mut(64);
            frame[..length].copy_from_slice(bytes);
            let data = frame.as_ptr() as u32;
            for (offset, value) in [(0, data), (4, data + length as u32), (8, data)] {
                context[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
            }
            // SAFETY: the program was proved safe by our verifier, and the context and frame it
            // is given are whole.
            let r0 = unsafe { self.vm.execute_program_jit(&mut context[..24]) };
            batch.frames[index].r0 = r0.unwrap_or_else(|e| panic!("rbpf: {e}"));
        }
    }
}
