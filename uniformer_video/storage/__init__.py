"""Where bytes are: on a disk, behind http, in what fsspec knows, inside a tar file."""
