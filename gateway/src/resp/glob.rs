//! Redis's glob patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`.

/// Whether `text` matches all of `pattern`. Takes time in the product of both lengths at most.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `*` did not match: one more byte for the star.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        match match_one(&pattern[p..], text[t]) {
            Some(length) => {
                p += length;
                t += 1;
            }
            None => match &mut star {
                Some((after, from)) => {
                    *from += 1;
                    (p, t) = (*after, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first element if `byte` matches it.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => match_class(rest, byte).map(|length| length + 1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// The length of a class, after its `[`, if `byte` is in it.
fn match_class(class: &[u8], byte: u8) -> Option<usize> {
    let negated = class.first() == Some(&b'^');
    let mut place = usize::from(negated);
    let mut found = false;
    loop {
        match &class[place.min(class.len())..] {
            [] => break,
            [b']', ..] => {
                place += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                place += 2;
            }
            [from, b'-', to, ..] => {
                let (low, high) = (from.min(to), from.max(to));
                found |= (low..=high).contains(&&byte);
                place += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                place += 1;
            }
        }
    }
    (found != negated).then_some(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        let cases = [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h*llo", "heeeello", true),
            ("h*l*o", "hello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\?llo", "h?llo", true),
            ("h\\?llo", "hello", false),
            ("a*", "b", false),
            ("*a", "ba", true),
            ("[a", "a", true),
            ("a\\", "a\\", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(!matches(
            "a*".repeat(1000).as_bytes(),
            "a".repeat(999).as_bytes()
        ));
    }

    proptest! {
        #[test]
        fn any_pattern_is_survived(pattern: Vec<u8>, text: Vec<u8>) {
            let star = [b"*", &pattern[..], b"*"].concat();
            prop_assert!(matches(&star, &text) || !matches(&pattern, &text) || pattern.ends_with(b"\\") || pattern.contains(&b'['));
        }
    }
}
