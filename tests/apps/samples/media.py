"""Film and sound, by ffmpeg: one second of a test picture and a tone."""

from pathlib import Path

from sample import Sample, run

PICTURE = ["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=10:duration=1"]
SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1:sample_rate=44100"]
EXACT = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p"]
AAC = ["-c:a", "aac"]


def film(*options: str):
    return lambda path: run("ffmpeg", "-v", "error", "-y", *PICTURE, *SOUND, *options, *EXACT, path)


def sound(*options: str):
    return lambda path: run("ffmpeg", "-v", "error", "-y", *SOUND, *options, *EXACT, path)


def mp3_bare(path: Path) -> None:
    """Without a tag in front: it starts with a frame."""
    sound("-c:a", "libmp3lame", "-write_xing", "0", "-id3v2_version", "0")(path)


SAMPLES = [
    Sample("mp4", "mp4", film(*H264, *AAC)),
    Sample("mp4-faststart", "mp4", film(*H264, *AAC, "-movflags", "+faststart")),
    Sample("mp4-fragmented", "mp4", film(*H264, *AAC, "-movflags", "+frag_keyframe+empty_moov")),
    Sample("mp4-hevc", "mp4", film("-c:v", "libx265", "-x265-params", "log-level=error", "-tag:v", "hvc1", *AAC)),
    Sample("m4v", "m4v", film(*H264, *AAC)),
    Sample("mov", "mov", film(*H264, *AAC)),
    Sample("webm-vp8", "webm", film("-c:v", "libvpx", "-c:a", "libvorbis")),
    Sample("webm-vp9", "webm", film("-c:v", "libvpx-vp9", "-deadline", "realtime", "-c:a", "libopus")),
    Sample("mkv", "mkv", film(*H264, *AAC)),
    Sample("avi", "avi", film("-c:v", "mpeg4", "-c:a", "libmp3lame")),
    Sample("3gp", "3gp", film(*H264, *AAC)),
    Sample("mpg", "mpg", film("-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2")),
    Sample("ts", "ts", film(*H264, *AAC)),
    Sample("flv", "flv", film(*H264, *AAC)),
    Sample("wmv", "wmv", film("-c:v", "wmv2", "-c:a", "wmav2")),
    Sample("ogv", "ogv", film("-c:v", "libtheora", "-c:a", "libvorbis")),
    Sample("mp3-tagged", "mp3", sound("-c:a", "libmp3lame", "-metadata", "title=A tone")),
    Sample("mp3-bare", "mp3", mp3_bare),
    Sample("wav", "wav", sound("-c:a", "pcm_s16le")),
    Sample("ogg", "ogg", sound("-c:a", "libvorbis")),
    Sample("opus", "opus", sound("-c:a", "libopus")),
    Sample("flac", "flac", sound("-c:a", "flac")),
    Sample("m4a", "m4a", sound(*AAC)),
    Sample("aac", "aac", sound(*AAC, "-f", "adts")),
    Sample("wma", "wma", sound("-c:a", "wmav2")),
    Sample("aiff", "aiff", sound("-c:a", "pcm_s16be")),
]
