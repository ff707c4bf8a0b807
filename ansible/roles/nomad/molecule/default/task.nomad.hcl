# Serves the folder of its secrets, so that the scenario may read what the task was given.
variable "uid" {
  type = number
}

job "expert-probe" {
  group "probe" {
    network {
      port "http" {}
    }

    service {
      name = "expert-probe"
      port = "http"
      tags = ["hearth"]

      check {
        type     = "http"
        path     = "/"
        interval = "2s"
        timeout  = "2s"
      }
    }

    task "probe" {
      driver = "raw_exec"
      user   = "nobody"

      consul {}

      template {
        data        = "{{ env \"CONSUL_HTTP_TOKEN\" }}{{ with nomadVar \"nomad/jobs/expert-probe\" }} {{ .word }}{{ end }}"
        destination = "${NOMAD_SECRETS_DIR}/given"
        perms       = "0600"
        uid         = var.uid
      }

      config {
        command = "/usr/bin/python3"
        args    = ["-m", "http.server", "--directory", "${NOMAD_SECRETS_DIR}", "${NOMAD_PORT_http}"]
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
