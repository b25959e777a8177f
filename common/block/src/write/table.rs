//! A Parquet file: row groups of chunks that we encode ourselves and of text columns that the parquet crate
//! encodes.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::outgoing::Outgoing;
use crate::error::BlockError;
use crate::pages::PAGE_ROWS;
use crate::pages::chunk::{ChunkEncoder, ChunkPages, EncodedChunk};

/// Most rows of a row group.
pub(crate) const GROUP_ROWS: usize = 1 << 20;

/// Where the pages of one row group lie, for the columns that we encode, in order of the schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupLayout {
    pub(crate) rows: u64,
    pub(crate) columns: Vec<ChunkPages>,
}

/// A column of a row group.
#[allow(clippy::large_enum_variant, reason = "a handful live at a time")]
pub(crate) enum Column {
    Encoded(EncodedChunk),
    /// Texts, with definition and repetition levels if the column is nested.
    Texts {
        values: Vec<ByteArray>,
        levels: Option<(Vec<i16>, Vec<i16>)>,
    },
}

pub(crate) struct Table {
    object: &'static str,
    writer: SerializedFileWriter<Outgoing>,
    columns: Vec<ColumnDescPtr>,
    pub(crate) encoder: ChunkEncoder,
    groups: Vec<GroupLayout>,
}

impl Table {
    pub(crate) fn new(object: &'static str, schema: &str, level: i32) -> Result<Self, BlockError> {
        let wrong = BlockError::encode(object);
        let schema = Arc::new(parse_message_type(schema).map_err(&wrong)?);
        let columns = SchemaDescriptor::new(Arc::clone(&schema)).columns().to_vec();
        let properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_created_by(format!("hearth block-{}", crate::FORMAT_MAJOR))
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(level).map_err(&wrong)?))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .build();
        let writer =
            SerializedFileWriter::new(Outgoing::default(), schema, Arc::new(properties)).map_err(&wrong)?;
        let encoder = ChunkEncoder::new(level).map_err(|what| BlockError::Encode { object, what })?;
        Ok(Self { object, writer, columns, encoder, groups: Vec::new() })
    }

    /// The description of a leaf column.
    pub(crate) fn column(&self, at: usize) -> ColumnDescPtr {
        Arc::clone(&self.columns[at])
    }

    /// An error of an encoder.
    pub(crate) fn wrong(&self) -> impl Fn(String) -> BlockError + use<> {
        let object = self.object;
        move |what| BlockError::Encode { object, what }
    }

    /// Appends a row group; its columns in order of the schema.
    pub(crate) fn append(&mut self, rows: usize, columns: Vec<Column>) -> Result<(), BlockError> {
        let wrong = BlockError::encode(self.object);
        let mut layout = GroupLayout { rows: rows as u64, columns: Vec::new() };
        let mut encoded_at = Vec::new();
        let mut group = self.writer.next_row_group().map_err(&wrong)?;
        for (at, column) in columns.into_iter().enumerate() {
            match column {
                Column::Encoded(chunk) => {
                    layout.columns.push(chunk.pages);
                    encoded_at.push(at);
                    group.append_column(&chunk.bytes, chunk.close).map_err(&wrong)?;
                }
                Column::Texts { values, levels } => {
                    texts(&mut group, &values, levels.as_ref()).map_err(&wrong)?
                }
            }
        }
        let metadata = group.close().map_err(&wrong)?;
        for (pages, at) in layout.columns.iter_mut().zip(encoded_at) {
            pages.offset = metadata.column(at).byte_range().0;
        }
        self.groups.push(layout);
        Ok(())
    }

    /// What was written so far, to be taken away in parts.
    pub(crate) fn out(&mut self) -> Result<&mut Outgoing, BlockError> {
        let wrong = |e: std::io::Error| BlockError::Encode { object: self.object, what: e.to_string() };
        self.writer.flush().map_err(wrong)?;
        Ok(self.writer.inner_mut())
    }

    /// The file and where its pages lie.
    pub(crate) fn finish(self) -> Result<(Outgoing, Vec<GroupLayout>), BlockError> {
        let out = self.writer.into_inner().map_err(BlockError::encode(self.object))?;
        Ok((out, self.groups))
    }
}

fn texts(
    group: &mut SerializedRowGroupWriter<'_, Outgoing>,
    values: &[ByteArray],
    levels: Option<&(Vec<i16>, Vec<i16>)>,
) -> parquet::errors::Result<()> {
    let missing = || parquet::errors::ParquetError::General("the schema has no further column".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    let definition = levels.map(|(definition, _)| definition.as_slice());
    let repetition = levels.map(|(_, repetition)| repetition.as_slice());
    column.typed::<ByteArrayType>().write_batch(values, definition, repetition)?;
    column.close()
}
