//! Where the pages of the Parquet objects lie: what their footers and offset indexes say, for the columns that queries
//! read. A copy; the Parquet files are complete without it.

use crate::codec::{CodecResult, Cursor, put_text, put_varint};
use crate::pages::PAGE_ROWS;
use crate::write::table::GroupLayout;

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

/// Decodes the layouts, by object.
pub(crate) fn take_layouts(bytes: &[u8]) -> CodecResult<Vec<(String, ObjectPages)>> {
    let mut cursor = Cursor::new(bytes);
    let mut objects = Vec::new();
    for _ in 0..cursor.count()? {
        let name = cursor.text()?.to_owned();
        let mut object = ObjectPages::default();
        for group in 0..cursor.count()? as u32 {
            take_group(&mut cursor, group, &mut object)?;
        }
        objects.push((name, object));
    }
    cursor.end()?;
    Ok(objects)
}

fn take_group(cursor: &mut Cursor<'_>, group: u32, object: &mut ObjectPages) -> CodecResult<()> {
    let columns = cursor.count()?;
    let pages = cursor.count()?;
    if group == 0 {
        object.columns = vec![ColumnPages::default(); columns];
    } else if object.columns.len() != columns {
        return Err(format!("a row group has {columns} columns, the first has {}", object.columns.len()));
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
