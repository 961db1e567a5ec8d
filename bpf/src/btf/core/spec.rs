//! The way into a type: parsed from a record's text, and found again in another type.

use super::compat::{self, TooComplex};
use super::{Question, essential};
use crate::btf::{Btf, Kind, TypeId};

/// A longer way than this is refused, as by libbpf.
const MAX_STEPS: usize = 64;

/// Anonymous structures nest less deeply than this.
const MAX_NESTING: u32 = 32;

/// A way into a type, with the bit offset it comes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    /// Where it starts.
    pub(super) root: TypeId,
    /// Its steps; steps through anonymous members are left out.
    pub(super) accesses: Vec<Access>,
    pub(super) bit_offset: u64,
    /// For enumerators, the value.
    pub(super) enumerator: Option<u64>,
    /// For enumerators, the index.
    enumerator_index: usize,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// The structure whose member is taken, or the type of the array's elements.
    pub(super) ty: TypeId,
    /// Which member or element.
    pub(super) index: u32,
    /// A member; else an element.
    pub(super) named: bool,
}

impl Spec {
    /// Parses a record's way, such as `0:1:2`: element 0 of an array of the type, then member 1,
    /// then member or element 2. `None` if it does not fit the type.
    pub(super) fn parse(
        btf: &Btf<'_>,
        root: TypeId,
        access: &str,
        question: Question,
    ) -> Option<Spec> {
        let mut steps = access.split(':').map(|step| step.parse::<u32>().ok());
        let first = steps.next()??;
        let mut spec = Spec {
            root,
            ..Spec::default()
        };
        if question.is_of_enumerator() {
            let Kind::Enum { values, .. } = btf.strip(root)?.1.kind else {
                return None;
            };
            spec.enumerator = Some(values.get(first as usize)?.value);
            spec.enumerator_index = first as usize;
            return steps.next().is_none().then_some(spec);
        }
        if !question.is_of_field() {
            return (first == 0 && steps.next().is_none()).then_some(spec);
        }
        let (mut id, _) = btf.strip(root)?;
        spec.bit_offset = bits(btf.size_of(id)?, first)?;
        spec.accesses.push(Access {
            ty: id,
            index: first,
            named: false,
        });
        for step in steps {
            let index = step?;
            if spec.accesses.len() >= MAX_STEPS {
                return None;
            }
            let (stripped, ty) = btf.strip(id)?;
            match ty.kind {
                Kind::Composite { members, .. } => {
                    let member = members.get(index as usize)?;
                    spec.bit_offset = spec.bit_offset.checked_add(member.bit_offset.into())?;
                    if !member.name.is_empty() {
                        spec.accesses.push(Access {
                            ty: stripped,
                            index,
                            named: true,
                        });
                    }
                    id = member.ty;
                }
                Kind::Array { element, count } => {
                    if index >= count && !spec.ends_with_flexible_array(btf, count) {
                        return None;
                    }
                    spec.element(btf, element, index)?;
                    id = element;
                }
                _ => return None,
            }
        }
        Some(spec)
    }

    /// The enumerator's name, if it is about one.
    pub(super) fn enumerator_name<'d>(&self, btf: &Btf<'d>) -> Option<&'d str> {
        self.enumerator?;
        match btf.strip(self.root)?.1.kind {
            Kind::Enum { values, .. } => Some(values.get(self.enumerator_index)?.name),
            _ => None,
        }
    }

    /// Goes into element `index` of an array.
    fn element(&mut self, btf: &Btf<'_>, element: TypeId, index: u32) -> Option<()> {
        let (ty, _) = btf.strip(element)?;
        let offset = bits(btf.size_of(ty)?, index)?;
        self.bit_offset = self.bit_offset.checked_add(offset)?;
        self.accesses.push(Access {
            ty,
            index,
            named: false,
        });
        Some(())
    }

    /// Whether the last step is the last member of its structure, an array without length.
    fn ends_with_flexible_array(&self, btf: &Btf<'_>, count: u32) -> bool {
        let Some(Access {
            ty,
            index,
            named: true,
        }) = self.accesses.last().copied()
        else {
            return false;
        };
        let Some(Kind::Composite { members, .. }) = btf.get(ty).map(|ty| ty.kind) else {
            return false;
        };
        count == 0 && index as usize + 1 == members.len()
    }

    /// The same way in `target`, from its type `root`; `None` if it has none.
    pub(super) fn find(
        &self,
        local: &Btf<'_>,
        target: &Btf<'_>,
        root: TypeId,
        question: Question,
        fuel: &mut u64,
    ) -> Result<Option<Spec>, TooComplex> {
        compat::step(fuel)?;
        let mut found = Spec {
            root,
            ..Spec::default()
        };
        if question.is_of_enumerator() {
            found.enumerator = self.find_enumerator(local, target, root, fuel)?;
            return Ok(found.enumerator.is_some().then_some(found));
        }
        if !question.is_of_field() {
            let fits = if question == Question::TypeMatches {
                compat::types_match(local, self.root, target, root, fuel)?
            } else {
                compat::types_compatible(local, self.root, target, root, fuel)?
            };
            return Ok(fits.then_some(found));
        }
        let mut id = root;
        for (step, access) in self.accesses.iter().enumerate() {
            let Some((stripped, ty)) = target.strip(id) else {
                return Ok(None);
            };
            if access.named {
                let Some(next) =
                    found.find_member(local, access, target, stripped, fuel, MAX_NESTING)?
                else {
                    return Ok(None);
                };
                id = next;
                continue;
            }
            let element = if step == 0 {
                stripped
            } else {
                let Kind::Array { element, count } = ty.kind else {
                    return Ok(None);
                };
                if access.index >= count && !found.ends_with_flexible_array(target, count) {
                    return Ok(None);
                }
                element
            };
            if found.element(target, element, access.index).is_none() {
                return Ok(None);
            }
            id = element;
        }
        Ok(Some(found))
    }

    /// The value of the enumerator of the same name in the enumeration `root`.
    fn find_enumerator(
        &self,
        local: &Btf<'_>,
        target: &Btf<'_>,
        root: TypeId,
        fuel: &mut u64,
    ) -> Result<Option<u64>, TooComplex> {
        let Some(name) = self.enumerator_name(local).map(essential) else {
            return Ok(None);
        };
        let Some(Kind::Enum { values, .. }) = target.strip(root).map(|(_, ty)| ty.kind) else {
            return Ok(None);
        };
        for value in values.iter() {
            compat::step(fuel)?;
            if essential(value.name) == name {
                return Ok(Some(value.value));
            }
        }
        Ok(None)
    }

    /// Goes into the member of structure `id` that has the name and fits the type of the local
    /// one; members of anonymous members count as the structure's own. Gives its type.
    fn find_member(
        &mut self,
        local: &Btf<'_>,
        access: &Access,
        target: &Btf<'_>,
        id: TypeId,
        fuel: &mut u64,
        nesting: u32,
    ) -> Result<Option<TypeId>, TooComplex> {
        let wanted = local.get(access.ty).and_then(|ty| match ty.kind {
            Kind::Composite { members, .. } => members.get(access.index as usize),
            _ => None,
        });
        let (Some(wanted), Some((id, ty))) = (wanted, target.strip(id)) else {
            return Ok(None);
        };
        let Kind::Composite { members, .. } = ty.kind else {
            return Ok(None);
        };
        let nesting = nesting.checked_sub(1).ok_or(TooComplex)?;
        for (index, member) in members.iter().enumerate() {
            compat::step(fuel)?;
            let before = self.bit_offset;
            self.bit_offset = before.saturating_add(member.bit_offset.into());
            if member.name.is_empty() {
                let inside = self.find_member(local, access, target, member.ty, fuel, nesting)?;
                if inside.is_some() {
                    return Ok(inside);
                }
            } else if member.name == wanted.name {
                if !compat::fields_compatible(local, wanted.ty, target, member.ty, fuel)? {
                    return Ok(None);
                }
                self.accesses.push(Access {
                    ty: id,
                    index: index as u32,
                    named: true,
                });
                return Ok(Some(member.ty));
            }
            self.bit_offset = before;
        }
        Ok(None)
    }
}

/// `count` times `bytes`, in bits.
fn bits(bytes: u64, count: u32) -> Option<u64> {
    bytes.checked_mul(u64::from(count))?.checked_mul(8)
}
