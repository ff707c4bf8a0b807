job "as-root" {
  type = "batch"

  group "root" {
    restart {
      attempts = 0
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "root" {
      driver = "raw_exec"

      config {
        command = "/usr/bin/id"
      }
    }
  }
}
