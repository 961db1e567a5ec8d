//! Runs the built command in a folder of its own, under a time limit.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::panic, reason = "what a test meets and did not expect ends it")]

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// What a command may take at most; the machine may be busy.
const LIMIT: Duration = Duration::from_mins(1);

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// An object of `programs/`, as a path.
pub(crate) fn program(name: &str) -> String {
    text(&root().join("programs").join(name))
}

/// A capture of `pcaps/data/`, as a path.
pub(crate) fn capture(name: &str) -> String {
    text(&root().join("pcaps/data").join(name))
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Names (without extension) of the ELF objects of `programs/`.
pub(crate) fn objects() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("programs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "o"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    names
}

/// Names of the programs in an object that have a packet hook.
pub(crate) fn programs_of(object: &str) -> Vec<String> {
    let bytes = std::fs::read(program(&format!("{object}.o"))).unwrap();
    let set = bpf::object::load(object, &bytes, &bpf::object::LoadOptions::default()).unwrap();
    set.programs.iter().map(|p| p.name.clone()).collect()
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The command line, for messages.
    pub(crate) line: String,
    /// Exit status.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// The same, if it ended with this status.
    #[track_caller]
    pub(crate) fn status(self, expected: i32) -> Ran {
        assert_eq!(
            self.status,
            expected,
            "{}\n{}\n{}",
            self.line,
            self.stderr,
            String::from_utf8_lossy(&self.stdout)
        );
        self
    }

    /// The same, if its errors say all of this.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "{}\nshould say `{part}`, but says\n{}",
                self.line,
                self.stderr
            );
        }
        self
    }

    /// Standard output as text.
    #[track_caller]
    pub(crate) fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|e| panic!("{}\n{e}\n{}\n{}", self.line, self.out(), self.stderr))
    }
}

/// A folder of its own, in which commands run. It is removed at the end.
#[derive(Debug)]
pub(crate) struct Sandbox {
    dir: PathBuf,
}

impl Sandbox {
    /// A fresh folder; `name` is the test's.
    pub(crate) fn new(name: &str) -> Sandbox {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Sandbox { dir }
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file, and gives its name.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        name.to_owned()
    }

    /// Reads a file.
    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Runs `nicbed` without input.
    #[track_caller]
    pub(crate) fn nicbed(&self, args: &[impl AsRef<OsStr>]) -> Ran {
        self.nicbed_with(args, &[], b"")
    }

    /// Runs `nicbed` with these environment variables and this standard input. It must end by
    /// itself, in time, without a panic.
    #[track_caller]
    pub(crate) fn nicbed_with(
        &self,
        args: &[impl AsRef<OsStr>],
        environment: &[(&str, &str)],
        input: &[u8],
    ) -> Ran {
        let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_nicbed"))
            .args(&args)
            .current_dir(&self.dir)
            .env_remove("NO_COLOR")
            .env_remove("GITHUB_ACTIONS")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let line = format!("nicbed {}", args.join(OsStr::new(" ")).display());
        let id = child.id();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A command that stops early does not read on.
            let _ = stdin.write_all(&input);
        });
        let stdout = all_of(child.stdout.take().unwrap());
        let stderr = all_of(child.stderr.take().unwrap());
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || ended.send(child.wait()));
        let Ok(status) = end.recv_timeout(LIMIT) else {
            let _ = Command::new("kill")
                .args(["-KILL", &id.to_string()])
                .status();
            panic!("{line}\ndid not end in {LIMIT:?}");
        };
        writer.join().unwrap();
        let stderr = String::from_utf8_lossy(&stderr.join().unwrap()).into_owned();
        let status = status.unwrap();
        let code = status.code();
        assert!(
            code.is_some_and(|code| code <= 5) && !stderr.contains("panicked"),
            "{line}\nended with {status}\n{stderr}"
        );
        Ran {
            line,
            status: code.unwrap_or(-1),
            stdout: stdout.join().unwrap(),
            stderr,
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn all_of(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// A small generator (xorshift64*), so that a failure can be repeated.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A copy with a few bytes or bits changed.
    pub(crate) fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(changed.len());
            match self.below(3) {
                0 => changed[at] ^= 1 << self.below(8),
                1 => changed[at] = self.next() as u8,
                _ => changed[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            }
        }
        changed
    }
}
