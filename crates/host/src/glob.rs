//! Shell patterns for one component of a path: `*`, `?`, `[a-z]`, `[!x]`, `[[:digit:]]` and `\` before a
//! character that is meant literally.
//!
//! Works on bytes, as git does, so that names of any encoding match. Common shapes (a plain name, `*.tmp`,
//! `tmp*`) cost one comparison. Knows no slashes.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Glob {
    Everything,
    Literal(Box<[u8]>),
    Suffix(Box<[u8]>),
    Prefix(Box<[u8]>),
    General(Box<[Token]>),
    /// The pattern is malformed; it matches nothing.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Byte(u8),
    AnyByte,
    AnyRun,
    Class(Box<Class>),
}

/// One bit per byte value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class([u64; 4]);

impl Class {
    fn add(&mut self, byte: u8) {
        self.0[byte as usize / 64] |= 1 << (byte % 64);
    }

    fn has(&self, byte: u8) -> bool {
        self.0[byte as usize / 64] >> (byte % 64) & 1 == 1
    }
}

impl Glob {
    /// Compiles one component.
    pub(crate) fn new(pattern: &[u8]) -> Glob {
        let Some(tokens) = tokens(pattern) else { return Glob::Nothing };
        let bytes = |tokens: &[Token]| -> Option<Box<[u8]>> {
            let byte = |token: &Token| if let Token::Byte(byte) = token { Some(*byte) } else { None };
            tokens.iter().map(byte).collect()
        };
        match tokens.as_slice() {
            [Token::AnyRun] => return Glob::Everything,
            [Token::AnyRun, rest @ ..] if bytes(rest).is_some() => {
                return Glob::Suffix(bytes(rest).unwrap_or_default());
            }
            [rest @ .., Token::AnyRun] if bytes(rest).is_some() => {
                return Glob::Prefix(bytes(rest).unwrap_or_default());
            }
            all => {
                if let Some(literal) = bytes(all) {
                    return Glob::Literal(literal);
                }
            }
        }
        Glob::General(tokens.into())
    }

    /// Says whether a whole name matches.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Glob::Everything => true,
            Glob::Literal(literal) => **literal == *name,
            Glob::Suffix(suffix) => name.ends_with(suffix),
            Glob::Prefix(prefix) => name.starts_with(prefix),
            Glob::General(tokens) => matches_tokens(tokens, name),
            Glob::Nothing => false,
        }
    }
}

/// Goes through the name once; after a mismatch only the last `*` takes one byte more, which is enough
/// because an earlier one could not do better. Time is at most pattern times name.
fn matches_tokens(tokens: &[Token], name: &[u8]) -> bool {
    let (mut t, mut n) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while n < name.len() {
        let fits = match tokens.get(t) {
            Some(Token::AnyRun) => {
                again = Some((t, n));
                t += 1;
                continue;
            }
            Some(Token::Byte(byte)) => *byte == name[n],
            Some(Token::AnyByte) => true,
            Some(Token::Class(class)) => class.has(name[n]),
            None => false,
        };
        if fits {
            (t, n) = (t + 1, n + 1);
        } else if let Some((star, from)) = again {
            again = Some((star, from + 1));
            (t, n) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    tokens[t..].iter().all(|token| *token == Token::AnyRun)
}

/// Returns `None` for patterns that can match nothing: an open bracket, a backslash at the end.
fn tokens(mut pattern: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::with_capacity(pattern.len());
    while let [first, rest @ ..] = pattern {
        pattern = rest;
        match first {
            b'*' if tokens.last() == Some(&Token::AnyRun) => {}
            b'*' => tokens.push(Token::AnyRun),
            b'?' => tokens.push(Token::AnyByte),
            b'\\' => {
                let (escaped, rest) = pattern.split_first()?;
                tokens.push(Token::Byte(*escaped));
                pattern = rest;
            }
            b'[' => {
                let (class, rest) = class(pattern)?;
                tokens.push(Token::Class(Box::new(class)));
                pattern = rest;
            }
            byte => tokens.push(Token::Byte(*byte)),
        }
    }
    Some(tokens)
}

/// Returns what follows the bracket that closes a class, given what follows the one that opens it.
pub(crate) fn after_class(pattern: &[u8]) -> Option<&[u8]> {
    class(pattern).map(|(_, rest)| rest)
}

/// Reads a class after its opening bracket and returns it with what follows the closing one.
fn class(mut pattern: &[u8]) -> Option<(Class, &[u8])> {
    let mut class = Class([0; 4]);
    let negated = matches!(pattern, [b'!' | b'^', ..]);
    if negated {
        pattern = &pattern[1..];
    }
    let mut at_start = true;
    loop {
        let (first, rest) = pattern.split_first()?;
        match first {
            b']' if !at_start => {
                if negated {
                    class.0 = class.0.map(|bits| !bits);
                }
                return Some((class, rest));
            }
            b'[' if rest.first() == Some(&b':') => pattern = named_class(&rest[1..], &mut class)?,
            _ => pattern = range(pattern, &mut class)?,
        }
        at_start = false;
    }
}

/// Reads `x` or `x-y`, where a backslash makes the next byte literal.
fn range<'a>(pattern: &'a [u8], class: &mut Class) -> Option<&'a [u8]> {
    let (low, rest) = class_byte(pattern)?;
    match rest {
        [b'-', next, ..] if *next != b']' => {
            let (high, rest) = class_byte(&rest[1..])?;
            (low..=high).for_each(|byte| class.add(byte));
            Some(rest)
        }
        _ => {
            class.add(low);
            Some(rest)
        }
    }
}

fn class_byte(pattern: &[u8]) -> Option<(u8, &[u8])> {
    match pattern {
        [b'\\', byte, rest @ ..] => Some((*byte, rest)),
        [b'\\'] | [] => None,
        [byte, rest @ ..] => Some((*byte, rest)),
    }
}

fn named_class<'a>(pattern: &'a [u8], class: &mut Class) -> Option<&'a [u8]> {
    let end = pattern.windows(2).position(|two| two == b":]")?;
    let belongs: fn(&u8) -> bool = match &pattern[..end] {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    };
    (0..=255).filter(belongs).for_each(|byte| class.add(byte));
    Some(&pattern[end + 2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = Glob::new(pattern.as_bytes());
        yes.iter().for_each(|name| assert!(glob.matches(name.as_bytes()), "{pattern} must match {name}"));
        no.iter().for_each(|name| assert!(!glob.matches(name.as_bytes()), "{pattern} must not match {name}"));
    }

    #[test]
    fn patterns_match_whole_names() {
        check("plain", &["plain"], &["plain2", "xplain", ""]);
        check("*.tmp", &["a.tmp", ".tmp"], &["a.tmp2", "tmp"]);
        check("core*", &["core", "core.123"], &["score"]);
        check("a*b*c", &["abc", "a-b-c", "abbcc", "abcbc"], &["ab", "abcd", "acb"]);
        check("a**b", &["ab", "axxb"], &["a"]);
        check("?x?", &["axb"], &["x", "ax", "axbc"]);
        check("[a-c]x", &["ax", "cx"], &["dx", "x"]);
        check("[!a-c]", &["d", "-"], &["a", "c", "dd"]);
        check("[^]]", &["a"], &["]"]);
        check("[]-]", &["]", "-"], &["a"]);
        check("[a\\]b]", &["a", "]", "b"], &["\\"]);
        check("[[:digit:][:upper:]]*", &["1x", "Ax"], &["ax", ""]);
        check("\\*\\?\\[", &["*?["], &["xy["]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn malformed_patterns_match_nothing() {
        for pattern in ["[abc", "[", "x\\", "[[:nonsense:]]", "[a\\", "[[:digit:"] {
            assert_eq!(Glob::new(pattern.as_bytes()), Glob::Nothing, "{pattern}");
        }
    }

    #[test]
    fn stars_cannot_make_matching_slow() {
        let glob = Glob::new("a*".repeat(60).as_bytes());
        let long = "a".repeat(4000) + "b";
        assert!(glob.matches(long.as_bytes()));
        let glob = Glob::new(("a*".repeat(60) + "c").as_bytes());
        assert!(!glob.matches(long.as_bytes()));
    }
}
