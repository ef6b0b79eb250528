//! Changes of a file, each behind a switch, so that one build holds many.
//!
//! A change is found in the syntax trees of the file as it is and as it would be: the smallest expression or block around
//! it that is one in both. In its place comes `if crate::planted::is(7) { as it would be } else { as it is }`, and the
//! changes within are planted in the second. What is not in a function that runs (a constant, a `const fn`, a macro's
//! definition) has no place for a condition.

use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// What each crate is given, to look at the switch: its number is in the environment, 0 if nothing is to be wrong. Where the
/// environment names a file, each number that is asked for is written there once.
pub(crate) const SWITCH: &str = "
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub, dead_code)]
pub mod planted {
    use std::sync::{OnceLock, atomic::{AtomicBool, Ordering::Relaxed}};
    static STATE: OnceLock<(u32, Option<std::fs::File>)> = OnceLock::new();
    static ASKED: [AtomicBool; 4096] = [const { AtomicBool::new(false) }; 4096];
    pub fn is(number: u32) -> bool {
        let (planted, asked) = STATE.get_or_init(|| {
            let number = std::env::var(\"NATGATE_PLANTED\").ok().and_then(|text| text.parse().ok());
            let file = std::env::var_os(\"NATGATE_ASKED\");
            (number.unwrap_or(0), file.and_then(|path| std::fs::File::options().append(true).open(path).ok()))
        });
        if let Some(mut file) = asked.as_ref() && !ASKED[number as usize % ASKED.len()].swap(true, Relaxed) {
            _ = std::io::Write::write_fmt(&mut file, format_args!(\"{number}\\n\"));
        }
        *planted == number
    }
}
";

/// One change, and the piece of the file that stands behind its switch.
#[derive(Clone)]
pub(crate) struct Planting {
    pub(crate) number: u32,
    place: Place,
    instead: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Block,
    /// One that ends with a brace, and may stand where such a one must.
    Braced,
    Plain,
    /// Added between functions, where nothing can be wrong because of it alone: it has no switch.
    Addition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    start: usize,
    end: usize,
    sort: Sort,
}

/// Where the change from `old` to `new` can be switched, if it can be.
pub(crate) fn place(number: u32, old: &str, new: &str) -> Option<Planting> {
    let changed = changed(old, new);
    let [before, after] = [places(old)?, places(new)?];
    let grown = |end: usize| end + new.len() - old.len();
    let is_around = |place: &&Place| place.start <= changed.start && changed.end <= place.end;
    let is_one_in_both = |place: &&Place| {
        let there = |other: &Place| {
            (other.start, other.end) == (place.start, grown(place.end))
                && (other.sort == Sort::Block) == (place.sort == Sort::Block)
        };
        after.iter().any(there)
    };
    let mut around: Vec<&Place> = before.iter().filter(is_around).collect();
    around.sort_by_key(|place| (place.end - place.start, place.sort));
    if around.is_empty() && changed.is_empty() {
        let place = Place { start: changed.start, end: changed.start, sort: Sort::Addition };
        return Some(Planting { number, place, instead: new[changed.start..grown(changed.end)].to_owned() });
    }
    let place = *around.into_iter().find(is_one_in_both)?;
    Some(Planting { number, place, instead: new[place.start..grown(place.end)].to_owned() })
}

/// The file with all these planted, and where in it each is.
pub(crate) fn plant(old: &str, mut plantings: Vec<Planting>) -> (String, Vec<(u32, Range<usize>)>) {
    // An outer one first.
    plantings.sort_by_key(|one| (one.place.start, std::cmp::Reverse(one.place.end), one.place.sort));
    let mut planted = Planted { old, text: String::new(), ranges: Vec::new() };
    planted.write(0..old.len(), &plantings);
    (planted.text, planted.ranges)
}

struct Planted<'a> {
    old: &'a str,
    text: String,
    ranges: Vec<(u32, Range<usize>)>,
}

impl Planted<'_> {
    fn write(&mut self, range: Range<usize>, mut plantings: &[Planting]) {
        let mut at = range.start;
        while let Some((one, others)) = plantings.split_first() {
            let Place { start, end, sort } = one.place;
            let within =
                others.iter().take_while(|other| other.place.end <= end && sort != Sort::Addition).count();
            let (within, behind) = others.split_at(within);
            self.text.push_str(&self.old[at..start]);
            let begun = self.text.len();
            let condition = format!("if crate::planted::is({})", one.number);
            let [opening, middle, closing] = match sort {
                Sort::Block => [format!("{{ {condition} "), " else ".to_owned(), " }".to_owned()],
                Sort::Braced => [format!("{condition} {{ "), " } else { ".to_owned(), " }".to_owned()],
                Sort::Plain => [format!("({condition} {{ "), " } else { ".to_owned(), " })".to_owned()],
                Sort::Addition => Default::default(),
            };
            self.text.push_str(&opening);
            self.text.push_str(&one.instead);
            self.text.push_str(&middle);
            self.write(start..end, within);
            self.text.push_str(&closing);
            self.ranges.push((one.number, begun..self.text.len()));
            at = end;
            plantings = behind;
        }
        self.text.push_str(&self.old[at..range.end]);
    }
}

/// What of `old` is other in `new`.
fn changed(old: &str, new: &str) -> Range<usize> {
    let same = |(a, b): &(char, char)| a == b;
    let length = |(a, _): (char, char)| a.len_utf8();
    let start: usize = old.chars().zip(new.chars()).take_while(same).map(length).sum();
    let [old_rest, new_rest] = [&old[start..], &new[start..]];
    let end: usize = old_rest.chars().rev().zip(new_rest.chars().rev()).take_while(same).map(length).sum();
    start..old.len() - end
}

/// Every place of a file where a condition can stand.
fn places(text: &str) -> Option<Vec<Place>> {
    let file = syn::parse_file(text).ok()?;
    let mut places = Places(Vec::new());
    places.visit_file(&file);
    // Else every file that was ever read is looked through for where a span lies.
    drop(file);
    proc_macro2::extra::invalidate_current_thread_spans();
    Some(places.0)
}

struct Places(Vec<Place>);

impl<'ast> Visit<'ast> for Places {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.sig.constness.is_none() {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if function.sig.constness.is_none() {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let range = block.span().byte_range();
        self.0.push(Place { start: range.start, end: range.end, sort: Sort::Block });
        visit::visit_block(self, block);
    }

    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        if let Some(sort) = sort(expression) {
            let range = expression.span().byte_range();
            self.0.push(Place { start: range.start, end: range.end, sort });
        }
        visit::visit_expr(self, expression);
    }

    fn visit_expr_assign(&mut self, assignment: &'ast syn::ExprAssign) {
        self.visit_expr(&assignment.right);
    }

    // None of these is run.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
}

/// How a condition takes an expression's place, if it can: it makes a value, so not of a place in memory, nor of a name that a
/// condition binds; and two closures have two types.
fn sort(expression: &syn::Expr) -> Option<Sort> {
    use syn::Expr;
    match expression {
        Expr::Block(_)
        | Expr::ForLoop(_)
        | Expr::If(_)
        | Expr::Loop(_)
        | Expr::Match(_)
        | Expr::Unsafe(_)
        | Expr::While(_) => Some(Sort::Braced),
        Expr::Closure(_)
        | Expr::Field(_)
        | Expr::Index(_)
        | Expr::Let(_)
        | Expr::Path(_)
        | Expr::Paren(_) => None,
        Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Deref(_)) => None,
        Expr::Binary(_) if binds(expression) => None,
        _ => Some(Sort::Plain),
    }
}

/// Whether it is a condition with a `let` in it.
fn binds(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(old: &str, new: &str) -> Option<String> {
        Some(plant(old, vec![place(7, old, new)?]).0)
    }

    #[test]
    fn the_smallest_expression_around_a_change_is_switched() {
        let old = "fn f(a: u8, b: u8) -> bool { a + 1 < b }";
        let new = "fn f(a: u8, b: u8) -> bool { a + 1 <= b }";
        let expected =
            "fn f(a: u8, b: u8) -> bool { (if crate::planted::is(7) { a + 1 <= b } else { a + 1 < b }) }";
        assert_eq!(planted(old, new).as_deref(), Some(expected));
    }

    #[test]
    fn what_binds_less_tightly_than_its_surroundings_takes_them_along() {
        let old = "fn f(a: u8, b: u8) -> u8 { g(a * b) }";
        let new = "fn f(a: u8, b: u8) -> u8 { g(a * b + 1) }";
        let expected =
            "fn f(a: u8, b: u8) -> u8 { g((if crate::planted::is(7) { a * b + 1 } else { a * b })) }";
        assert_eq!(planted(old, new).as_deref(), Some(expected));
    }

    #[test]
    fn a_place_in_memory_is_no_value() {
        let old = "fn f(&mut self) { self.a = 1; }";
        let new = "fn f(&mut self) { self.b = 1; }";
        let expected = "fn f(&mut self) { (if crate::planted::is(7) { self.b = 1 } else { self.a = 1 }); }";
        assert_eq!(planted(old, new).as_deref(), Some(expected));
    }

    #[test]
    fn a_statement_that_is_gone_is_its_blocks() {
        let old = "fn f() { if a() { b(); c(); } }";
        let new = "fn f() { if a() { c(); } }";
        let expected = "fn f() { if a() { if crate::planted::is(7) { c(); } else { b(); c(); } } }";
        assert_eq!(planted(old, new).as_deref(), Some(expected));
    }

    #[test]
    fn a_change_within_another_is_planted_where_that_is_not() {
        let old = "fn f(a: u8) -> bool { a < 1 }";
        let [inner, outer] = ["fn f(a: u8) -> bool { a < 2 }", "fn f(a: u8) -> bool { g(); a < 1 }"];
        let plantings = [(1, inner), (2, outer)].map(|(number, new)| place(number, old, new));
        let (text, ranges) = plant(old, plantings.into_iter().flatten().collect());
        let expected = "fn f(a: u8) -> bool { if crate::planted::is(2) { g(); a < 1 } else \
                        { a < (if crate::planted::is(1) { 2 } else { 1 }) } }";
        assert_eq!(text, expected);
        assert_eq!(ranges.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        assert!(text[ranges[0].1.clone()].starts_with("(if crate::planted::is(1)"));
    }

    #[test]
    fn what_has_no_place_for_a_condition_is_not_switched() {
        assert_eq!(planted("const A: u8 = 1;", "const A: u8 = 2;"), None);
        assert_eq!(planted("const fn a() -> u8 { 1 }", "const fn a() -> u8 { 2 }"), None);
    }

    #[test]
    fn a_condition_that_binds_a_name_takes_the_whole_if_along() {
        let old = "fn f() { if let Some(a) = b() && a < 1 && c() { d(); } }";
        let new = "fn f() { if let Some(a) = b() && a < 1 { d(); } }";
        let text = planted(old, new).unwrap_or_default();
        assert!(text.starts_with("fn f() { if crate::planted::is(7) { if let"), "{text}");
    }
}
