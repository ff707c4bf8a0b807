module hearth/build/consul

go 1.25.7

require github.com/hashicorp/consul v1.22.5
