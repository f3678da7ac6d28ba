//! Dates, in every form that HTTP has (RFC 9110 section 5.6.7), read as leniently as browsers read those of cookies
//! (RFC 6265 section 5.1.1).

/// The seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`, whatever the order of its parts; `None` if
/// it is not one.
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(|byte| is_delimiter(*byte)).filter(|token| !token.is_empty()) {
        if time.is_none()
            && let Some(found) = time_of(token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some(found) = number(token, 1..=2)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = month_of(token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some(found) = number(token, 2..=4)
        {
            year = Some(match found {
                70..=99 => found + 1900,
                0..=69 => found + 2000,
                _ => found,
            });
        }
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, year?);
    let is_date = (1..=days_of(year, month)).contains(&day) && year >= 1601;
    let is_time = hour <= 23 && minute <= 59 && second <= 59;
    (is_date && is_time).then(|| days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'/' | b';'..=b'@' | b'['..=b'`' | b'{'..=b'~')
}

/// A number of so many digits. Other characters may follow it.
fn number(token: &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let count = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = |value, digit: &u8| value * 10 + i64::from(digit - b'0');
    digits.contains(&count).then(|| token[..count].iter().fold(0, value))
}

/// Hour, minute and second, each of one or two digits.
fn time_of(token: &[u8]) -> Option<(i64, i64, i64)> {
    let mut fields = token.splitn(3, |byte| *byte == b':');
    let is_number = |field: &&[u8]| field.iter().all(u8::is_ascii_digit);
    let hour = fields.next().filter(is_number).and_then(|field| number(field, 1..=2))?;
    let minute = fields.next().filter(is_number).and_then(|field| number(field, 1..=2))?;
    Some((hour, minute, number(fields.next()?, 1..=2)?))
}

/// The number of a month, from 1, by its first three letters.
fn month_of(token: &[u8]) -> Option<i64> {
    const NAMES: [&[u8]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    let name = token.get(..3)?.to_ascii_lowercase();
    Some(NAMES.iter().position(|known| **known == name)? as i64 + 1)
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days from the beginning of 1970 to this one, in the Gregorian calendar.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let of_years = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    of_years + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1
}

/// A time in seconds since 1970 in the form that is to be sent; 1970 for what is no time that it has.
#[must_use]
pub fn text(seconds: f64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    /// The first second of the year 10000.
    const END: f64 = 253_402_300_800.0;
    let seconds = if (0.0..END).contains(&seconds) { seconds as i64 } else { 0 };
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // This may be some too many, for leap years are longer.
    let mut year = 1970 + days / 365;
    while days_before(year, 1, 1) > days {
        year -= 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1, 1) <= days {
        month += 1;
    }
    format!(
        "{}, {:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        days - days_before(year, month, 1) + 1,
        MONTHS[month as usize - 1],
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::{parse, text};

    #[test]
    fn dates_in_the_forms_that_servers_use() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("6-nov-1994 8:49:37", 784_111_777),
            ("08:49:37 6th November 1994AD", 784_111_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
            ("Mon, 29 Feb 2016 00:00:00 GMT", 1_456_704_000),
            ("Tue, 19 Jan 2038 03:14:08 GMT", 2_147_483_648),
            ("1 Jan 69 0:0:0", 3_124_224_000),
            ("1 Jan 70 0:0:0", 0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn texts_that_are_not_dates() {
        for text in [
            "",
            "never",
            "0",
            "06 Nov 1994",
            "Nov 1994 08:49:37",
            "06 1994 08:49:37",
            "06 Nov 08:49:37",
            "31 Nov 1994 08:49:37",
            "29 Feb 1900 08:49:37",
            "00 Nov 1994 08:49:37",
            "06 Nov 1600 08:49:37",
            "06 Nov 1994 24:00:00",
            "06 Nov 1994 08:60:00",
            "06 Nov 1994 08:49",
            "06 Nov 1994 008:49:37",
            "06 Nov 19940 08:49:37",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_number_becomes_a_date() {
        for (seconds, expected) in [
            (784_111_777.9, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0.0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1.0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1e300, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (f64::NAN, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (253_402_300_799.0, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(seconds), expected, "{seconds}");
        }
        for day in 0..200_000 {
            let seconds = day * 86_400 + 3723;
            assert_eq!(parse(text(seconds as f64).as_bytes()), Some(seconds));
        }
    }
}
