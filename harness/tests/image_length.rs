//! Limits that only translation can tell.

use std::sync::Arc;

use bpf::finding::Stage;
use bpf::object::{self, LoadOptions};
use harness::decide::Verdict;
use harness::pipeline;
use jit_backends::Loaded;

#[test]
fn an_image_longer_than_the_code_store_falls_back_at_translation() -> Result<(), String> {
    let text = "r0 = 2\nexit\n";
    let set = object::load("p.bpf", text.as_bytes(), &LoadOptions::default())
        .map_err(|e| e.to_string())?;
    let program = Arc::new(set.programs[0].clone());
    let nic = caps::builtin("x86-dpu").map_err(|e| e.to_string())?;
    for (bytes, expected) in [(1, Verdict::Fallback), (4096, Verdict::Offload)] {
        let nic =
            caps::apply_set(&nic, &format!("image.length={bytes}")).map_err(|e| e.to_string())?;
        let decision = pipeline::assess(&program, &Arc::new(nic), &Loaded::default()).decision;
        assert_eq!(
            decision.outcome, expected,
            "{bytes} bytes: {:?}",
            decision.findings
        );
        if expected == Verdict::Fallback {
            assert_eq!(decision.stage, Some(Stage::Translate));
            assert_eq!(decision.findings[0].rule, "image/too-long");
        }
        assert!(
            decision
                .findings
                .iter()
                .all(|f| f.rule != "image/not-translated")
        );
    }
    Ok(())
}
