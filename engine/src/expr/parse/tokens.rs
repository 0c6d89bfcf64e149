//! Text → tokens, and what is changed about them before sqlparser sees them.
//!
//! Types that its grammar lacks (`list<int64>`, `timestamp_tz(us, 'UTC')`) become one quoted word
//! where a cast names them, and `//` becomes `div`.

use sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace, Word},
};

use super::{Expressions, ParseErrorKind, Result, error, lower_first, offset_of, types};

/// The most tokens of one expression: what is deep is built of many.
pub(super) const MAX_TOKENS: usize = 1000;

/// The most values of one list of constants, which has no depth.
const MAX_VALUES: usize = 20_000;

/// The tokens of `text`, which has at most so many words.
pub(super) fn read(text: &str, most_words: usize) -> Result<Vec<TokenWithSpan>> {
    let syntax = |offset, message| Err(error(ParseErrorKind::Syntax, offset, message));
    let tokens = match Tokenizer::new(&Expressions, text).tokenize_with_location() {
        Ok(tokens) => tokens,
        Err(refusal) => {
            return syntax(offset_of(text, refusal.location), lower_first(&refusal.message));
        }
    };
    let (words, values) = count(&tokens);
    if words + values == 0 {
        return syntax(0, String::from("expected an expression, found nothing"));
    }
    if words > most_words {
        let message = format!("an expression of {words} words; {most_words} are allowed");
        return syntax(0, message);
    }
    if values > MAX_VALUES {
        let message = format!("lists of {values} values; {MAX_VALUES} are allowed");
        return syntax(0, message);
    }
    Ok(with_whole_divisions(with_types(text, tokens)))
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// How many words there are, and how many further constants of a list, each with its comma.
fn count(tokens: &[TokenWithSpan]) -> (usize, usize) {
    let (mut words, mut values) = (0, 0);
    let mut was_comma = false;
    for token in tokens.iter().filter(|token| !is_blank(token)) {
        let is_value =
            matches!(token.token, Token::Number(..) | Token::SingleQuotedString(_)) && was_comma;
        was_comma = token.token == Token::Comma;
        if is_value {
            values += 1;
            words -= 1;
        } else {
            words += 1;
        }
    }
    (words, values)
}

/// Each type that a cast names and that is more than words, as one quoted word.
fn with_types(text: &str, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut changed = Vec::with_capacity(tokens.len());
    // For each open parenthesis, whether it is that of a cast.
    let mut open: Vec<bool> = Vec::new();
    let mut was_cast = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let mut is_type_next = token.token == Token::DoubleColon;
        match &token.token {
            Token::LParen => open.push(was_cast),
            Token::RParen => {
                open.pop();
            }
            Token::Word(word) if word.keyword == Keyword::AS => {
                is_type_next = open.last() == Some(&true);
            }
            _ => {}
        }
        if !is_blank(&token) {
            was_cast = matches!(
                &token.token,
                Token::Word(word) if matches!(word.keyword, Keyword::CAST | Keyword::TRY_CAST)
            );
        }
        changed.push(token);
        if !is_type_next {
            continue;
        }
        while let Some(blank) = tokens.next_if(is_blank) {
            changed.push(blank);
        }
        let Some(first) = tokens.peek() else { continue };
        let begin = offset_of(text, first.span.start);
        let rest = text.get(begin..).unwrap_or_default();
        let Some(end) = types::prefix(rest).map(|length| begin + length) else { continue };
        let named = text.get(begin..end).unwrap_or_default();
        if !named.contains(['<', '(', '[']) {
            continue;
        }
        let mut span = first.span;
        while let Some(part) = tokens.next_if(|part| offset_of(text, part.span.start) < end) {
            span.end = part.span.end;
        }
        let value = named.replace('"', "\"\"");
        let word = Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword };
        changed.push(TokenWithSpan { token: Token::Word(word), span });
    }
    changed
}

/// `//` as the word that means the same here.
fn with_whole_divisions(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut changed: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let is_second = token.token == Token::Div
            && changed
                .last()
                .is_some_and(|last| last.token == Token::Div && last.span.end == token.span.start);
        if is_second && let Some(last) = changed.pop() {
            let div = Word { value: String::from("div"), quote_style: None, keyword: Keyword::DIV };
            let blank = |span| TokenWithSpan { token: Token::Whitespace(Whitespace::Space), span };
            changed.push(blank(last.span));
            changed.push(TokenWithSpan { token: Token::Word(div), span: last.span });
            changed.push(blank(token.span));
        } else {
            changed.push(token);
        }
    }
    changed
}
