//! The path of a program up to its image: verify → check → translate.
//!
//! Each stage takes the typed result of the one before. [`assess`] walks a program as far as it
//! gets and says where it stopped.

use std::sync::Arc;

use bpf::Program;
use bpf::finding::{DriverAnswer, Finding, Stage};
use bpf::run::Environment;
use caps::{Caps, RecordError, Unit, Usage};
use isa::Image;
use jit_backends::{Backend, Loaded};
use nic_model::Nic;
use verifier::{Options, Rejection, Verified};

use crate::decide::{Decision, Verdict};

/// How far a program got on a NIC.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// The program.
    pub program: Arc<Program>,
    /// The NIC.
    pub nic: Arc<Caps>,
    /// The answer so far: later stages can only make it worse.
    pub decision: Decision,
    /// What was proved, if the verifier accepted it.
    pub verified: Option<Arc<Verified>>,
    /// What it needs, if the verifier accepted it.
    pub usage: Option<Usage>,
    /// Its image, if it was translated.
    pub image: Option<Arc<Image>>,
}

/// Verifies a program as the CPU would, bound to no device.
///
/// # Errors
/// [`Rejection`] with the first thing that cannot be proved.
pub fn verify(program: &Arc<Program>) -> Result<Verified, Box<Rejection>> {
    verifier::verify(Arc::clone(program), Options::default())
}

/// Walks `program` through verify, check and translate for `nic`. `loaded` is what the NIC
/// already holds.
pub fn assess(program: &Arc<Program>, nic: &Arc<Caps>, loaded: &Loaded) -> Assessment {
    assess_with(program, nic, loaded, jit_backends::by_name(&nic.backend))
}

/// Walks programs through, one after the other: what the NIC's driver learns of one that fits
/// counts for the next. `loaded` is what the NIC holds before.
pub fn assess_all(
    programs: &[Arc<Program>],
    nic: &Arc<Caps>,
    mut loaded: Loaded,
    backend: Option<&dyn Backend>,
) -> Vec<Assessment> {
    let assessments = programs.iter().map(|program| {
        let assessment = assess_with(program, nic, &loaded, backend);
        if assessment.decision.outcome == Verdict::Offload
            && let Some(verified) = &assessment.verified
        {
            loaded.add(verified);
        }
        assessment
    });
    assessments.collect()
}

/// The same with this backend in place of the one that the profile names.
pub fn assess_with(
    program: &Arc<Program>,
    nic: &Arc<Caps>,
    loaded: &Loaded,
    backend: Option<&dyn Backend>,
) -> Assessment {
    let mut assessment = Assessment {
        program: Arc::clone(program),
        nic: Arc::clone(nic),
        decision: Decision::from_findings(Vec::new()),
        verified: None,
        usage: None,
        image: None,
    };
    let mut hooks = backend.and_then(|b| b.hooks(nic, loaded));
    let options = Options {
        device: hooks
            .as_mut()
            .map(|h| h.as_mut() as &mut dyn verifier::DeviceHooks),
        port: Some(1),
        device_bound: true,
        log: false,
    };
    let verified = match verifier::verify(Arc::clone(program), options) {
        Ok(verified) => Arc::new(verified),
        Err(rejection) => {
            assessment.decision = Decision::from_findings(vec![rejection.finding]);
            return assessment;
        }
    };
    let mut findings = joined(verified.findings().to_vec(), caps::check(&verified, nic));
    assessment.usage = Some(caps::usage(&verified));
    assessment.verified = Some(Arc::clone(&verified));
    if findings.iter().any(Finding::is_error) {
        assessment.decision = Decision::from_findings(findings);
        return assessment;
    }
    match backend {
        None => findings.push(no_backend(nic)),
        Some(backend) => match backend.translate(&verified, nic) {
            Ok(image) => {
                // What was not known before translation is known now.
                findings.retain(|f| f.rule != "image/not-translated");
                findings.extend(too_long(&image, nic));
                assessment.image = Some(Arc::new(image));
            }
            Err(refusal) => findings.extend(refusal.findings),
        },
    }
    assessment.decision = Decision::from_findings(findings);
    assessment
}

/// Findings of a driver's hooks and of the check against capabilities, each cause once: where
/// both see the same, the general finding stays and carries the driver's answer.
fn joined(hooks: Vec<Finding>, mut checked: Vec<Finding>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for finding in hooks {
        let same = finding.driver.as_deref().and_then(|answer| {
            checked
                .iter_mut()
                .find(|f| says_the_same(f, &finding, answer))
        });
        match same {
            Some(general) => general.driver = finding.driver,
            None => findings.push(finding),
        }
    }
    findings.extend(checked);
    findings
}

/// Whether a general finding is about what a driver's finding is about. A map is meant by its
/// name; a limit of the whole program has at most one finding.
fn says_the_same(general: &Finding, own: &Finding, answer: &DriverAnswer) -> bool {
    let is_free = general.driver.is_none() && general.is_error() == own.is_error();
    let same_place = if general.rule.starts_with("map/") && own.rule.starts_with("nfp/map-") {
        general.subject == own.subject
    } else {
        own.pc.is_none() || general.pc == own.pc
    };
    is_free && answer.means.contains(&general.rule.as_str()) && same_place
}

/// An image that is longer than the NIC's code store, where only translation could tell.
fn too_long(image: &Image, nic: &Caps) -> Option<Finding> {
    let limit = nic.image_length()?;
    let used = match limit.unit {
        Unit::Insns | Unit::Rows => image.instructions as u64,
        Unit::Bytes => image.code.len() as u64,
        Unit::Slots | Unit::Entries => return None,
    };
    let has = limit.value.known().filter(|_| limit.exceeded_by(used))?;
    let unit = limit.unit.name();
    Some(
        Finding::error(
            "image/too-long",
            Stage::Translate,
            nic.backend.clone(),
            format!("the image is {used} {unit} long, {} has {has}", nic.name),
        )
        .why(format!(
            "the profile of {} says so, key `image.length`",
            nic.name
        ))
        .help("compile with -O2 or -Os, leave out cases, or split the work with the host"),
    )
}

/// What the driver of a NIC with this profile knows: what the device declares is read from the
/// binary record that the device serves, as a real driver reads it; the rest is the driver's own
/// and the model's.
///
/// # Errors
/// [`RecordError`] if the device's record is malformed.
pub fn read_capabilities(profile: &Arc<Caps>) -> Result<Arc<Caps>, RecordError> {
    let device = Nic::new(Arc::clone(profile), Arc::new(Environment::default()), 1);
    Ok(Arc::new(profile.with_record(&device.record())?))
}

fn no_backend(nic: &Caps) -> Finding {
    Finding::error(
        "translate/no-backend",
        Stage::Translate,
        nic.backend.clone(),
        format!(
            "no backend yet: nothing translates to {} for {}",
            nic.backend, nic.name
        ),
    )
    .why(
        "the capabilities allow this program as far as they can be checked before translation, \
         but without an image it can neither be loaded nor compared",
    )
    .help(format!(
        "backends: {}",
        jit_backends::all()
            .iter()
            .map(|b| b.name())
            .collect::<Vec<_>>()
            .join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_declares_what_its_profile_says() {
        for name in caps::builtin_names() {
            let profile = Arc::new(caps::builtin(name).unwrap());
            let read = read_capabilities(&profile).unwrap();
            assert_eq!(profile.to_toml(), read.to_toml(), "{name}");
        }
    }
}
