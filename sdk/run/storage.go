package run

// Buckets that speak S3's protocol are known to every program. Google's and Azure's
// clients add more than 50 MB to one, so who wants them imports checkpoint/store/cloud.
import _ "github.com/weirflow/weir/checkpoint/store/s3"
