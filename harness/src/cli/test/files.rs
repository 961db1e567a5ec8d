//! The files of tests: which there are, and what lies beside them.

use std::path::{Path, PathBuf};

use pcaps::CaptureReader;

use crate::error::Error;
use crate::testfile::SUFFIX;
use crate::testfile::format::Packet;
use crate::testfile::run::Frame;

/// Most frames that one packet of a test takes of a capture.
const MOST_FRAMES: usize = 10_000;

/// The test files that paths mean: a file as it is, of a folder all below, by name.
pub(super) fn below(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        collect(path, true, &mut files)?;
        if files.len() == before {
            return Err(Error::usage(format!(
                "{}: no file below it ends in {SUFFIX}",
                path.display()
            )));
        }
    }
    Ok(files)
}

fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let fail = |e: std::io::Error| Error::input(format!("{}: cannot read: {e}", path.display()));
    // Links to folders are followed only where they are named: below they may lead in circles.
    let kind = if named {
        std::fs::metadata(path)
    } else {
        std::fs::symlink_metadata(path)
    };
    let kind = kind.map_err(fail)?;
    if kind.is_dir() {
        let mut entries = std::fs::read_dir(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(fail)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            collect(&entry.path(), false, files)?;
        }
    } else if named || path.to_string_lossy().ends_with(SUFFIX) {
        files.push(path.to_owned());
    }
    Ok(())
}

/// A path that a test file names, which lies beside it.
pub(super) fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}

/// The frames that a packet takes of its capture.
pub(super) fn captured(file: &Path, packet: &Packet) -> Result<Vec<Frame>, Error> {
    let Some(name) = &packet.pcap else {
        return Ok(Vec::new());
    };
    let path = beside(file, name);
    let fail = |e: pcaps::ReadError| Error::input(format!("{}: {e}", path.display()));
    let mut reader = CaptureReader::open(&path).map_err(fail)?;
    let mut frames = Vec::new();
    let mut number = 0;
    while let Some(chunk) = reader.chunk().map_err(fail)? {
        for record in chunk {
            let wanted = packet.frames.as_ref().is_none_or(|f| f.contains(&number));
            number += 1;
            if !wanted {
                continue;
            }
            if frames.len() == MOST_FRAMES || record.meta.link != pcaps::LinkType::ETHERNET {
                let why = if frames.len() == MOST_FRAMES {
                    format!("more than {MOST_FRAMES} frames; name some with `frames`")
                } else {
                    format!(
                        "frame {} is of {}, not Ethernet",
                        number - 1,
                        record.meta.link
                    )
                };
                return Err(Error::input(format!("{}: {why}", path.display())));
            }
            frames.push(Frame {
                arrival_ns: Some(record.meta.arrival_ns),
                bytes: record.data.to_vec(),
            });
        }
    }
    if let Some(missing) = packet.frames.iter().flatten().find(|f| **f >= number) {
        return Err(Error::input(format!(
            "{}: there is no frame {missing}; it has {number}, counted from 0",
            path.display()
        )));
    }
    Ok(frames)
}
