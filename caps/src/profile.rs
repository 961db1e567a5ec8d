//! The profile schema.

/// What one NIC declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Name: the profile's file name without extension.
    pub name: String,
    /// One line for humans.
    pub summary: String,
    /// Name of the backend that translates for it.
    pub backend: String,
}

/// Why a profile cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No built-in profile has this name.
    #[error("no NIC is named {name}; known are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
}

/// Names of the built-in profiles, sorted.
pub fn builtin_names() -> &'static [&'static str] {
    &["x86-dpu"]
}

/// The built-in profile of this name.
///
/// # Errors
/// [`ProfileError::Unknown`].
pub fn builtin(name: &str) -> Result<Caps, ProfileError> {
    if name == "x86-dpu" {
        return Ok(Caps {
            name: name.to_owned(),
            summary: "DPU whose cores are the host's".to_owned(),
            backend: "x86_64".to_owned(),
        });
    }
    Err(ProfileError::Unknown {
        name: name.to_owned(),
        known: builtin_names().join(", "),
    })
}
