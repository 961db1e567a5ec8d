//! The table of forms contradicts itself nowhere.

use isa::nfp::form::{FORMS, WORD_BITS};

#[test]
fn no_word_has_two_forms() {
    for (i, one) in FORMS.iter().enumerate() {
        for other in &FORMS[i + 1..] {
            let both = one.mask & other.mask;
            assert_ne!(
                one.value & both,
                other.value & both,
                "{} and {}",
                one.name,
                other.name
            );
        }
    }
}

#[test]
fn fields_overlap_neither_each_other_nor_the_fixed_bits() {
    for form in &FORMS {
        let mut used = form.mask;
        for field in form.fields {
            assert_eq!(used & field.mask(), 0, "{}: {}", form.name, field.name);
            used |= field.mask();
        }
        assert_eq!(used >> WORD_BITS, 0, "{}", form.name);
    }
}
