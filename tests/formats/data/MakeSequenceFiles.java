import java.io.File;
import java.nio.charset.StandardCharsets;
import org.apache.hadoop.conf.Configurable;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.io.*;
import org.apache.hadoop.io.compress.*;

/** Writes SequenceFiles of 300 closed-form records with Hadoop's own writer; see the tests. */
public class MakeSequenceFiles {
  static final int RECORDS = 300;
  static Configuration conf = new Configuration(false);
  static String folder;

  static Writable key(Class<?> kind, int i) {
    if (kind == Text.class) return new Text("key " + i + " \u00fc");
    if (kind == IntWritable.class) return new IntWritable(i - 5);
    if (kind == LongWritable.class) return new LongWritable((long) i << 40);
    if (kind == BytesWritable.class) return new BytesWritable(new byte[] {(byte) i, (byte) 255});
    return NullWritable.get();
  }

  static Writable value(Class<?> kind, int i) {
    if (kind == Text.class) return new Text("text ".repeat(i % 50) + i);
    if (kind == FloatWritable.class) return new FloatWritable(i / 2f);
    if (kind == DoubleWritable.class) return new DoubleWritable(i / 4d);
    if (kind == BooleanWritable.class) return new BooleanWritable(i % 2 == 0);
    if (kind == VLongWritable.class) return new VLongWritable(i % 2 == 0 ? i : -((long) i << 33));
    byte[] data = new byte[i * 3];
    java.util.Arrays.fill(data, (byte) i);
    return new BytesWritable(data);
  }

  static void write(String name, Class<?> key, Class<?> value, SequenceFile.CompressionType type,
      CompressionCodec codec) throws Exception {
    SequenceFile.Metadata metadata = new SequenceFile.Metadata();
    metadata.set(new Text("made by"), new Text("a test"));
    try (SequenceFile.Writer writer = SequenceFile.createWriter(conf,
        SequenceFile.Writer.file(new Path("file:" + new File(folder, name).getAbsolutePath())),
        SequenceFile.Writer.keyClass(key), SequenceFile.Writer.valueClass(value),
        SequenceFile.Writer.metadata(metadata), SequenceFile.Writer.syncInterval(2000),
        SequenceFile.Writer.compression(type, codec))) {
      for (int i = 0; i < RECORDS; i++) writer.append(key(key, i), value(value, i));
    }
  }

  public static void main(String[] args) throws Exception {
    folder = args[0];
    conf.set("fs.file.impl", "org.apache.hadoop.fs.RawLocalFileSystem");
    conf.setInt("io.seqfile.compress.blocksize", 4000);
    Class<?>[] values = {Text.class, BytesWritable.class};
    Object[][] codecs = {{"default", new DefaultCodec()}, {"bzip2", new BZip2Codec()},
        {"gzip", new GzipCodec()}, {"snappy", new SnappyCodec()}};
    for (Class<?> value : values) {
      String kind = value.getSimpleName();
      write("none-" + kind, Text.class, value, SequenceFile.CompressionType.NONE, null);
      for (Object[] codec : codecs) {
        if (codec[1] instanceof Configurable) ((Configurable) codec[1]).setConf(conf);
        for (String type : new String[] {"RECORD", "BLOCK"})
          write(type.toLowerCase() + "-" + codec[0] + "-" + kind, Text.class, value,
              SequenceFile.CompressionType.valueOf(type), (CompressionCodec) codec[1]);
      }
    }
    for (Class<?> key : new Class<?>[] {IntWritable.class, LongWritable.class,
        NullWritable.class, BytesWritable.class})
      for (String type : new String[] {"NONE", "BLOCK"})
        write("key-" + type.toLowerCase() + "-" + key.getSimpleName(), key, BytesWritable.class,
            SequenceFile.CompressionType.valueOf(type), new DefaultCodec());
    for (Class<?> value : new Class<?>[] {FloatWritable.class, DoubleWritable.class,
        BooleanWritable.class, VLongWritable.class})
      write("value-" + value.getSimpleName(), IntWritable.class, value,
          SequenceFile.CompressionType.NONE, null);
  }
}
