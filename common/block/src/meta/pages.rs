//! Where the pages of the Parquet objects lie: what their footers and offset indexes say, for the columns that queries
//! read. A copy; the Parquet files are complete without it.

use crate::codec::{CodecResult, Cursor, put_text, put_varint};
use crate::pages::PAGE_ROWS;
use crate::write::table::GroupLayout;

/// Most columns of an object that this version does not know.
const COLUMNS_MAX: usize = 64;

/// Encodes the layouts of all objects.
pub(crate) fn put_layouts(objects: &[(&str, &[GroupLayout])]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(objects.len() as u64, &mut out);
    for (name, groups) in objects {
        put_text(name, &mut out);
        put_varint(groups.len() as u64, &mut out);
        for group in *groups {
            put_varint(group.columns.len() as u64, &mut out);
            let pages = group.columns.first().map_or(&[][..], |c| &c.pages);
            put_varint(pages.len() as u64, &mut out);
            pages.iter().for_each(|&(rows, _)| put_varint(u64::from(rows), &mut out));
            for column in &group.columns {
                put_varint(column.offset, &mut out);
                put_varint(u64::from(column.dict_bytes), &mut out);
                column.pages.iter().for_each(|&(_, bytes)| put_varint(u64::from(bytes), &mut out));
            }
        }
    }
    out
}

/// A page of all columns of an object: they all cut pages at the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRows {
    pub(crate) first: u64,
    pub(crate) rows: u32,
    pub(crate) group: u32,
}

/// A column of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ColumnPages {
    /// Offset and length of each page, parallel to [`ObjectPages::pages`].
    pub(crate) pages: Vec<(u64, u32)>,
    /// Offset and length of the dictionary page of each row group; length 0 = none.
    pub(crate) dicts: Vec<(u64, u32)>,
}

/// Where the pages of an object lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObjectPages {
    pub(crate) rows: u64,
    pub(crate) pages: Vec<PageRows>,
    pub(crate) columns: Vec<ColumnPages>,
}

impl ObjectPages {
    /// Indices of the pages that hold any of the rows.
    pub(crate) fn pages_of(&self, rows: &std::ops::Range<u64>) -> std::ops::Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        let from = self.pages.partition_point(|p| p.first + u64::from(p.rows) <= rows.start);
        let to = self.pages.partition_point(|p| p.first < rows.end);
        from..to.max(from)
    }

    /// Estimated memory.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.len() * (size_of::<PageRows>() + self.columns.len() * size_of::<(u64, u32)>())
    }
}

/// Decodes the layouts, by object. `columns_of` says how many columns each row group of an object lists; `None`: nobody reads the
/// object, and it is left out.
pub(crate) fn take_layouts(
    bytes: &[u8],
    columns_of: impl Fn(&str) -> Option<usize>,
) -> CodecResult<Vec<(String, ObjectPages)>> {
    let mut cursor = Cursor::new(bytes);
    let mut objects = Vec::new();
    for _ in 0..cursor.count()? {
        let name = cursor.text()?;
        let expected = columns_of(name);
        let mut object = ObjectPages::default();
        for group in 0..cursor.count()? as u32 {
            take_group(&mut cursor, (group, expected), &mut object)
                .map_err(|what| format!("row group {group} of {name}: {what}"))?;
        }
        if expected.is_some() {
            objects.push((name.to_owned(), object));
        }
    }
    cursor.end()?;
    Ok(objects)
}

fn take_group(
    cursor: &mut Cursor<'_>,
    (group, expected): (u32, Option<usize>),
    object: &mut ObjectPages,
) -> CodecResult<()> {
    let columns = cursor.count()?;
    let pages = cursor.count()?;
    // Before there is memory for them, and before somebody looks for one that is not there.
    match expected {
        Some(expected) if columns != expected => {
            return Err(format!("it has {columns} columns, not {expected}"));
        }
        None if columns > COLUMNS_MAX => {
            return Err(format!("it has {columns} columns, the limit is {COLUMNS_MAX}"));
        }
        _ => {}
    }
    if group == 0 {
        object.columns = vec![ColumnPages::default(); columns];
    } else if object.columns.len() != columns {
        return Err(format!("it has {columns} columns, the first has {}", object.columns.len()));
    }
    for _ in 0..pages {
        let rows = cursor.varint_u32()?;
        if rows as usize > PAGE_ROWS {
            return Err(format!("a page has {rows} rows, the limit is {PAGE_ROWS}"));
        }
        object.pages.push(PageRows { first: object.rows, rows, group });
        object.rows += u64::from(rows);
    }
    for column in &mut object.columns {
        let too_large = "a page lies beyond the end of any object";
        let mut at = cursor.varint()?;
        let dict = cursor.varint_u32()?;
        column.dicts.push((at, dict));
        at = at.checked_add(u64::from(dict)).ok_or(too_large)?;
        for _ in 0..pages {
            let bytes = cursor.varint_u32()?;
            column.pages.push((at, bytes));
            at = at.checked_add(u64::from(bytes)).ok_or(too_large)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One object with row groups of so many columns, each with two pages of 100 and 50 rows.
    fn layouts(name: &str, columns_of_groups: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(1, &mut out);
        put_text(name, &mut out);
        put_varint(columns_of_groups.len() as u64, &mut out);
        for columns in columns_of_groups {
            for number in [*columns as u64, 2, 100, 50] {
                put_varint(number, &mut out);
            }
            for column in 0..*columns as u64 {
                for number in [1000 * column, 10, 20, 30] {
                    put_varint(number, &mut out);
                }
            }
        }
        out
    }

    fn take(bytes: &[u8]) -> CodecResult<Vec<(String, ObjectPages)>> {
        take_layouts(bytes, |name| (name == "known").then_some(3))
    }

    #[test]
    fn a_table_has_the_columns_that_are_read_of_it() {
        let read = take(&layouts("known", &[3, 3])).expect("valid");
        let (name, pages) = &read[0];
        assert_eq!((name.as_str(), pages.rows, pages.pages.len(), pages.columns.len()), ("known", 300, 4, 3));
        assert_eq!(pages.columns[2].pages, [(2010, 20), (2030, 30), (2010, 20), (2030, 30)]);
        // None at all would be looked for in vain, and the pages of many would take more memory than there is.
        for wrong in [&[0][..], &[2], &[4], &[3, 0], &[3, 4], &[0, 3]] {
            let error = take(&layouts("known", wrong)).expect_err("refused");
            assert!(error.contains("columns, not 3"), "{wrong:?}: {error}");
        }
        let mut claims = layouts("known", &[3]);
        // 2^20 columns, and bytes enough for them.
        drop(claims.splice(8..9, [0x80, 0x80, 0x40]));
        claims.resize(2 << 20, 0);
        let error = take(&claims).expect_err("refused");
        assert!(error.contains("it has 1048576 columns, not 3"), "{error}");
    }

    #[test]
    fn what_is_not_known_is_left_out_within_a_limit() {
        assert_eq!(take(&layouts("of a later version", &[5, 5])), Ok(Vec::new()));
        assert_eq!(take(&layouts("of a later version", &[COLUMNS_MAX])), Ok(Vec::new()));
        let error = take(&layouts("of a later version", &[COLUMNS_MAX + 1])).expect_err("refused");
        assert!(error.contains("65 columns, the limit is 64"), "{error}");
        assert!(take(&layouts("of a later version", &[5, 6])).is_err());
    }
}
